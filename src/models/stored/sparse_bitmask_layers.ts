/** Sparse layers of compressed-tensors before 0.15: kept values in row order, and a bit for each place. */
import type { TensorArchive } from '../../formats/archive.ts'
import { decodeIntegers } from '../../formats/safetensors/decode.ts'
import { read24Bitmask, readBitmask } from '../../formats/sparse_bitmask.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { scope, tensor } from '../../tensor/index.ts'
import type { SparsityFormat } from './compressed_tensors_config.ts'
import {
  bytesOfParts,
  inPart,
  type PartNeed,
  partsOf,
  readNumbers,
  readPart,
  type StoredLayer,
  scaleTypeNames,
  scaleTypeOf,
} from './stored_layer.ts'

const code = 'PARE_E_COMPRESSED_TENSORS_TENSOR'
const suffixes = [
  'compressed',
  'bitmask',
  'row_offsets',
  'shape',
  'weight_scale',
  'input_scale',
  'output_scale',
]

/** @param scalesOf a factor for each of so many rows, where values have scales @default values are the weights */
export function sparseLayer(
  archive: TensorArchive,
  stem: string,
  format: SparsityFormat | undefined,
  scalesOf?: (rows: number) => Float32Array,
): StoredLayer {
  const parts = partsOf(archive, stem, suffixes)
  const name = `${stem}.compressed`
  const entry = archive.tensors.get(name)!
  if (!format)
    throw new FormatError(
      `${printable(name)}: quantization_config has no sparsity_config that says how to read it; the configuration does not fit`,
      { code, facts: { tensor: name } },
    )
  const [rows, columns] = shapeOf(archive, stem)
  return {
    info: {
      name: `${stem}.weight`,
      shape: [rows, columns],
      type: `${format}-${entry.type}`,
      bytes: bytesOfParts(archive, parts),
    },
    parts,
    values(start, end) {
      const range = [start, end] as const
      const count = end - start
      const marks = readPart(archive, `${stem}.bitmask`, need(['U8'], rows, Math.ceil(columns / 8)), range)
      const types = scalesOf ? ['F8_E4M3', 'F8_E5M2'] : scaleTypeNames
      // The dense places are not kept: what decodes the values puts them there again.
      let kept: Float32Array
      if (format === 'sparse-24-bitmask') {
        kept = readNumbers(archive, name, need(types, rows, columns / 2), range)
        inPart(stem, () => read24Bitmask(new Uint8Array(kept.length), marks, count, columns))
      } else {
        const offsets = rowOffsets(archive, stem, rows, entry.shape[0] ?? 0)
        const [from, to] = [offsets[start]!, offsets[end]!]
        kept = readNumbers(archive, name, need(types, entry.shape[0] ?? 0), [from, to])
        const own = BigInt64Array.from(offsets.slice(start, end), (offset) => BigInt(offset - from))
        inPart(stem, () => readBitmask(new Uint8Array(kept.length), marks, own, count, columns))
      }
      const type = scalesOf ? 'f16' : scaleTypeOf(archive, name)
      return scope((): StoredValues => {
        const numbers = tensor(kept, [kept.length]).cast(type)
        const values = { kind: 'bitmask', shape: [count, columns], mask: marks, kept: numbers } as const
        const scales = scalesOf?.(rows).subarray(start, end)
        return scales ? { kind: 'scaled', values, rows: tensor(scales, [count]) } : values
      })
    },
  }
}

const need = (types: readonly string[], ...shape: number[]): PartNeed => ({ types, shape, code })

/** [rows, columns], which the bitmask must fit. */
function shapeOf(archive: TensorArchive, stem: string): readonly [number, number] {
  const name = `${stem}.shape`
  const isColumn = archive.tensors.get(name)?.shape.length === 2
  const bytes = readPart(archive, name, need(['I64'], ...(isColumn ? [2, 1] : [2])))
  const [rows = 0, columns = 0] = decodeIntegers('I64', bytes, 2)
  const mask = archive.tensors.get(`${stem}.bitmask`)?.shape ?? []
  if (rows >= 0 && columns >= 0 && rows === mask[0] && Math.ceil(columns / 8) === mask[1])
    return [rows, columns]
  throw new FormatError(
    `${printable(name)}: says [${rows}, ${columns}], which a bitmask [${mask.join(', ')}] is not for; the file is damaged`,
    { code, facts: { tensor: name, rows, columns } },
  )
}

/** Where the values of each row begin, and the end of all. @throws FormatError where they fall */
function rowOffsets(archive: TensorArchive, stem: string, rows: number, kept: number): number[] {
  const name = `${stem}.row_offsets`
  const stored = decodeIntegers('I64', readPart(archive, name, need(['I64'], rows)), rows)
  const offsets = [...stored, kept]
  const fall = offsets.findIndex((offset, row) => offset < (row === 0 ? 0 : offsets[row - 1]!))
  if (fall < 0) return offsets
  throw new FormatError(
    `${printable(name)}: row ${fall} begins before the row above it; the file is damaged`,
    {
      code,
      facts: { tensor: name, row: fall },
    },
  )
}
