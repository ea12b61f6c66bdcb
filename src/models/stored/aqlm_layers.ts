/** Layers of an AQLM checkpoint: for each group of weights an index into each of its codebooks. */

import { aqlmIndices, aqlmType } from '../../formats/aqlm_codes.ts'
import type { TensorArchive } from '../../formats/archive.ts'
import { type CodebookValues, decodeCodebooks } from '../../nn/values/codebook.ts'
import { scope, tensor } from '../../tensor/index.ts'
import {
  bytesOfParts,
  inPart,
  isPositive,
  modulesWith,
  type PartNeed,
  partsOf,
  readNumbers,
  readPart,
  type StoredLayer,
  scaleTypeNames,
  wrongField,
} from './stored_layer.ts'

/** `quantization_config` of an AQLM checkpoint. */
export interface AqlmConfig {
  codebooks: number
  /** Of a code: 1 to 16. */
  bits: number
  /** Neighbouring outputs and inputs of one group. */
  outGroup: number
  inGroup: number
}

/** @throws FormatError for an option that Pare does not read. */
export function readAqlmConfig(config: Record<string, unknown>): AqlmConfig {
  const size = (field: string, fallback: number, most: number) => {
    const value = config[field] ?? fallback
    if (isPositive(value) && value <= most) return value
    throw wrongField('AQLM', 'PARE_E_AQLM_CONFIG', field, `a whole number from 1 to ${most}`, value)
  }
  return {
    codebooks: size('num_codebooks', 1, 64),
    bits: size('nbits_per_codebook', 16, 16),
    outGroup: size('out_group_size', 1, 1024),
    inGroup: size('in_group_size', 8, 1024),
  }
}

/** The layers that have codes. What the configuration leaves out has a plain tensor, and is none. */
export function aqlmLayers(archive: TensorArchive, config: AqlmConfig): StoredLayer[] {
  return modulesWith(archive, 'codes').map((stem) => aqlmLayer(archive, stem, config))
}

function aqlmLayer(archive: TensorArchive, stem: string, config: AqlmConfig): StoredLayer {
  const { codebooks, bits, outGroup, inGroup } = config
  const parts = partsOf(archive, stem, ['codes', 'codebooks', 'scales'])
  const [first = 0, second = 0] = archive.tensors.get(`${stem}.codes`)!.shape
  // Codes may be turned; the scales tell how many groups of outputs there are.
  const down = archive.tensors.get(`${stem}.scales`)?.shape[0] ?? 0
  const across = first === down ? second : first
  const shape = [down * outGroup, across * inGroup] as const
  const type = `aqlm-${codebooks}x${bits}`
  return {
    info: { name: `${stem}.weight`, shape, type, bytes: bytesOfParts(archive, parts) },
    parts,
    values(start, end) {
      const [from, to] = [Math.floor(start / outGroup), Math.ceil(end / outGroup)]
      return scope(() => {
        const covering = readAqlm(archive, stem, config, [down, across], from, to)
        if (start === from * outGroup && end === to * outGroup) return covering
        const numbers = decodeCodebooks(covering).slice(0, start - from * outGroup, end - from * outGroup)
        return { kind: 'dense', numbers: numbers.contiguous() }
      })
    },
  }
}

/** Groups of outputs `from` to `to`, exclusive. */
function readAqlm(
  archive: TensorArchive,
  stem: string,
  { codebooks, bits, outGroup, inGroup }: AqlmConfig,
  [down, across]: readonly [number, number],
  from: number,
  to: number,
): CodebookValues {
  const need = (types: readonly string[], ...shape: number[]): PartNeed => ({
    types,
    shape,
    code: 'PARE_E_AQLM_TENSOR',
  })
  const name = `${stem}.codes`
  const { shape } = archive.tensors.get(name)!
  const stored = readPart(
    archive,
    name,
    need([aqlmType(bits)], ...(shape[0] === down ? [down, across] : [across, down]), codebooks),
  )
  const signed =
    bits <= 8
      ? new Int8Array(stored.buffer, stored.byteOffset, stored.length)
      : new Int16Array(stored.buffer, stored.byteOffset, stored.length / 2)
  const layer = { outputGroups: down, inputGroups: across, codebooks, bits }
  const indices = inPart(name, () => aqlmIndices(signed, shape, layer))
  const width = across * codebooks
  const entries = 2 ** bits
  const books = need(scaleTypeNames, codebooks, entries, outGroup, inGroup)
  const numbers = readNumbers(archive, `${stem}.codebooks`, books)
  const scales = readNumbers(archive, `${stem}.scales`, need(scaleTypeNames, down, 1, 1, 1), [from, to])
  return {
    kind: 'codebook',
    shape: [(to - from) * outGroup, across * inGroup],
    bits,
    codes: tensor(
      Uint32Array.from(indices.subarray(from * width, to * width)),
      [to - from, across, codebooks],
      'u32',
    ),
    codebooks: tensor(numbers, [codebooks, entries, outGroup, inGroup]),
    scales: tensor(scales, [to - from]),
  }
}
