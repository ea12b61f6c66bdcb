/** Layers of an SpQR checkpoint: 3 bits in tiles of 16 by 16 with scales of 3 bits, and outliers that are added. */
import type { TensorArchive } from '../../formats/archive.ts'
import { f16ToNumber } from '../../formats/half.ts'
import { readOutliers, type SpqrOutliers, unpackOrder } from '../../formats/spqr_outliers.ts'
import { spqrTile, unpackSpqr } from '../../formats/spqr_packing.ts'
import type { BilevelValues } from '../../nn/values/bilevel_grid.ts'
import type { SparseRowValues } from '../../nn/values/sparse_rows.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { tensor } from '../../tensor/index.ts'
import {
  bytesOfParts,
  inPart,
  isMap,
  modulesWith,
  type PartNeed,
  partsOf,
  readPart,
  type StoredLayer,
  signedWords,
  unsignedWords,
  wrongField,
} from './stored_layer.ts'

/** `quantization_config` of an SpQR checkpoint. */
export interface SpqrConfig {
  /** Numbers in each part of each module, by `MODULE.PART.shape`. */
  lengths: Readonly<Record<string, unknown>>
}

/** @throws FormatError for an option that Pare does not read. */
export function readSpqrConfig(config: Record<string, unknown>): SpqrConfig {
  const wrong = (field: string, need: string, found: unknown) =>
    wrongField('SpQR', 'PARE_E_SPQR_CONFIG', field, need, found)
  for (const [field, need] of [
    ['bits', 3],
    ['beta1', spqrTile],
    ['beta2', spqrTile],
  ] as const)
    if (config[field] !== need) throw wrong(field, String(need), config[field])
  if (!isMap(config.shapes)) throw wrong('shapes', 'a map from parts to lengths', config.shapes)
  return { lengths: config.shapes }
}

const suffixes = ['dense_weights', 'row_offsets', 'col_vals', 'in_perm'] as const
const need = (type: string, ...shape: number[]): PartNeed => ({
  types: [type],
  shape,
  code: 'PARE_E_SPQR_TENSOR',
})

/**
 * The layers that have codes. What the configuration leaves out has a plain tensor, and is none.
 *
 * @param shapes of the weights of the model, since no tensor of a layer has its shape
 */
export function spqrLayers(
  archive: TensorArchive,
  { lengths }: SpqrConfig,
  shapes: ReadonlyMap<string, readonly number[]>,
): StoredLayer[] {
  return modulesWith(archive, 'dense_weights').map((stem) => {
    const name = `${stem}.weight`
    const shape = shapes.get(name)
    if (shape?.length !== 2)
      throw new FormatError(
        `${printable(stem)}: is stored as codes, but the model has no weight of this name; the configuration does not fit`,
        { code: 'PARE_E_SPQR_CONFIG', facts: { module: stem } },
      )
    const [out, inputs] = shape as [number, number]
    if (out % spqrTile !== 0 || inputs % spqrTile !== 0)
      throw new FormatError(
        `${printable(stem)}: SpQR needs sizes divisible by ${spqrTile}, found [${out}, ${inputs}]; the configuration does not fit`,
        { code: 'PARE_E_SPQR_CONFIG', facts: { module: stem, out, inputs } },
      )
    const parts = partsOf(archive, stem, suffixes)
    const read = (suffix: (typeof suffixes)[number], type: string, rows?: readonly [number, number]) => {
      const length = Number(lengths[`${stem}.${suffix}.shape`])
      return readPart(archive, `${stem}.${suffix}`, need(type, length), rows)
    }
    return {
      info: { name, shape, type: 'spqr-3bit', bytes: bytesOfParts(archive, parts) },
      parts,
      values(start, end) {
        const across = inputs / spqrTile
        const words = (out / spqrTile) * across * spqrTile
        // Its length follows from the shape, whatever the configuration says.
        const dense = need('I64', words)
        const [from, to] = [Math.floor(start / spqrTile), Math.ceil(end / spqrTile)]
        const rowWords = across * spqrTile
        const bytes = readPart(archive, `${stem}.dense_weights`, dense, [from * rowWords, to * rowWords])
        const fields = inPart(`${stem}.dense_weights`, () =>
          unpackSpqr(unsignedWords(bytes), (to - from) * spqrTile, inputs),
        )
        const stored = {
          rowOffsets: signedWords(read('row_offsets', 'I32')),
          colVals: signedWords(read('col_vals', 'I32')),
        }
        const outliers = inPart(`${stem}.col_vals`, () => readOutliers(stored, out, inputs))
        const inPerm = archive.tensors.has(`${stem}.in_perm`) ? read('in_perm', 'I32') : new Uint8Array(0)
        const order = inPart(`${stem}.in_perm`, () => unpackOrder(signedWords(inPerm), inputs))
        const terms = [
          bilevelRows(fields, inputs, start - from * spqrTile, end - from * spqrTile),
          outlierRows(outliers, inputs, start, end),
        ]
        const sum: StoredValues = { kind: 'sum', terms, rounded: 'f16' }
        return order ? { kind: 'permuted', values: sum, order: Uint32Array.from(order) } : sum
      },
    }
  })
}

/** Some rows: whole tiles keep their parameters together, rows within a tile have them by themselves. */
function bilevelRows(
  { codes, scaleCodes, zeroCodes, secondOrder }: ReturnType<typeof unpackSpqr>,
  inputs: number,
  start: number,
  end: number,
): BilevelValues {
  const across = inputs / spqrTile
  const count = end - start
  const isWhole = start % spqrTile === 0 && end % spqrTile === 0
  const rows = isWhole ? spqrTile : 1
  const second = (place: number) =>
    tensor(
      Float32Array.from({ length: (count / rows) * across }, (_, i) => {
        const tile = Math.floor((start + rows * Math.floor(i / across)) / spqrTile) * across + (i % across)
        return f16ToNumber(secondOrder[4 * tile + place]!)
      }),
      [count / rows, across],
    )
  const byGroup = (all: Uint8Array) => tensor(all.slice(start * across, end * across), [count, across], 'u8')
  return {
    kind: 'bilevel',
    bits: 3,
    tile: { rows, columns: spqrTile },
    codes: tensor(codes.slice(start * inputs, end * inputs), [count, inputs], 'u8'),
    scaleCodes: byGroup(scaleCodes),
    zeroCodes: byGroup(zeroCodes),
    second: { scaleScale: second(0), zeroScale: second(1), scaleZero: second(2), zeroZero: second(3) },
  }
}

function outlierRows(
  { rowOffsets, columns, values }: SpqrOutliers,
  inputs: number,
  start: number,
  end: number,
): SparseRowValues {
  const [from, to] = [rowOffsets[start]!, rowOffsets[end]!]
  return {
    kind: 'sparse_rows',
    shape: [end - start, inputs],
    rowOffsets: rowOffsets.slice(start, end + 1).map((offset) => offset - from),
    columns: Uint32Array.from(columns.subarray(from, to)),
    values: Float32Array.from(values.subarray(from, to), f16ToNumber),
    valueType: 'f16',
  }
}
