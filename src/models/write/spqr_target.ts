/**
 * SpQR checkpoints, outliers by rows: 3 bits in tiles of 16 by 16 with scales of 3 bits, and outliers that are added.
 * transformers loads them with the package spqr_quant.
 */
import { numberToF16 } from '../../formats/half.ts'
import type { PareWeight } from '../../formats/pare_weight.ts'
import { packOrder, writeCsr } from '../../formats/spqr_outliers.ts'
import { packSpqr, spqrTile } from '../../formats/spqr_packing.ts'
import type { BilevelValues } from '../../nn/values/bilevel_grid.ts'
import type { SparseRowValues } from '../../nn/values/sparse_rows.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { OptionError } from '../../tensor/errors.ts'
import { bytesOf, scope, type Tensor } from '../../tensor/index.ts'
import { type LayerOptions, planCheckpoint } from './checkpoint_target.ts'
import type { FolderSource } from './folder_source.ts'
import { type LayerEncoding, moduleOf } from './layer_encoding.ts'
import type { TargetPlan } from './model_writer.ts'

/** What of a layer is not in its shape. */
export interface SpqrForm {
  /** Outliers. */
  entries: number
  /** Columns stand in another order. */
  permuted: boolean
}

/**
 * Plans the folder. Every linear weight is described as a grid of two levels and sparse rows, whose sum is rounded to f16,
 * in order or permuted; or it is kept.
 *
 * @throws OptionError where a layer is put together in another way, or 16 does not divide it.
 */
export const planSpqr = (source: FolderSource, options: Omit<LayerOptions, 'grid'>): TargetPlan =>
  planCheckpoint(source, spqrEncoding, options)

export const spqrEncoding: LayerEncoding<SpqrForm> = {
  target: 'spqr',
  title: 'an SpQR checkpoint',
  mixed: true,
  formOf: spqrForm,
  need: ({ shape }) =>
    shape.every((size) => size % spqrTile === 0) && shape[1] < 2 ** 16
      ? undefined
      : 'rows and columns that 16 divides, at most 65535 columns',
  tensors: ({ name, ...layer }) =>
    Object.entries(lengthsOf(layer)).map(([part, length]) => ({
      name: `${moduleOf(name)}.${part}`,
      type: part === 'dense_weights' ? 'I64' : 'I32',
      shape: [length],
    })),
  encode({ name, shape: [rows, columns] }, values) {
    const parts = spqrParts(values)
    if (!parts)
      throw new OptionError(
        `${name}: an SpQR file stores grids of two levels with outliers, the method made something else`,
      )
    const { dense, outliers, order } = parts
    const { rowOffsets, colVals } = writeCsr({
      rowOffsets: outliers.rowOffsets,
      columns: Uint16Array.from(outliers.columns),
      values: Uint16Array.from(outliers.values, numberToF16),
    })
    const stem = moduleOf(name)
    return [
      { name: `${stem}.dense_weights`, bytes: bytesOf(packSpqr(fieldsOf(dense), rows, columns)) },
      { name: `${stem}.row_offsets`, bytes: bytesOf(rowOffsets) },
      { name: `${stem}.col_vals`, bytes: bytesOf(colVals) },
      {
        name: `${stem}.in_perm`,
        bytes: bytesOf(order ? packOrder(Uint16Array.from(order)) : new Int32Array(0)),
      },
    ]
  },
  configuration: (layers, leftOut) => ({
    quantization_config: {
      quant_method: 'spqr',
      bits: 3,
      beta1: spqrTile,
      beta2: spqrTile,
      modules_to_not_convert: ['lm_head', ...leftOut.map(moduleOf)],
      // A loader makes the tensors of each layer from these.
      shapes: Object.fromEntries(
        layers.flatMap(({ name, ...layer }) =>
          Object.entries(lengthsOf(layer)).map(([part, length]) => [
            `${moduleOf(name)}.${part}.shape`,
            length,
          ]),
        ),
      ),
    },
  }),
}

const lengthsOf = ({
  shape: [rows, columns],
  grid: { entries, permuted },
}: {
  shape: readonly [number, number]
  grid: SpqrForm
}) => ({
  dense_weights: rows * (columns / spqrTile),
  row_offsets: rows + 1,
  col_vals: entries,
  in_perm: permuted ? columns / 2 : 0,
})

function spqrForm(described: PareWeight): SpqrForm | undefined {
  if (described.kind === 'permuted') {
    const form = spqrForm(described.values)
    return form && !form.permuted ? { ...form, permuted: true } : undefined
  }
  if (described.kind !== 'sum' || described.rounded !== 'f16' || described.terms.length !== 2)
    return undefined
  const [dense, outliers] = described.terms
  if (dense?.kind !== 'bilevel' || outliers?.kind !== 'sparse_rows') return undefined
  const { bits, scaleBits = bits, zeroBits = bits, wholeZeros, tile } = dense
  const isTile = tile.rows === spqrTile && tile.columns === spqrTile
  const areCodes = [bits, scaleBits, zeroBits].every((width) => width === 3) && !wholeZeros
  const fits = areCodes && isTile && outliers.valueType === 'f16'
  return fits ? { entries: outliers.entries, permuted: false } : undefined
}

interface SpqrParts {
  dense: BilevelValues
  outliers: SparseRowValues
  order?: Uint32Array
}

function spqrParts(values: StoredValues): SpqrParts | undefined {
  if (values.kind === 'permuted') {
    const parts = spqrParts(values.values)
    return parts && { ...parts, order: values.order }
  }
  if (values.kind !== 'sum') return undefined
  const [dense, outliers] = values.terms
  if (dense?.kind !== 'bilevel' || outliers?.kind !== 'sparse_rows' || !dense.second.zeroScale)
    return undefined
  return { dense, outliers }
}

function fieldsOf({ codes, scaleCodes, zeroCodes, second }: BilevelValues) {
  // Layers without zeros of two levels were refused.
  const parts = [second.scaleScale, second.zeroScale!, second.scaleZero, second.zeroZero!].map(
    (part) => scope(() => part.toArray()) as Float32Array,
  )
  const secondOrder = Uint16Array.from({ length: 4 * second.scaleScale.size }, (_, i) =>
    numberToF16(parts[i % 4]![i >> 2]!),
  )
  const bytes = (part: Tensor) => part.bytes()
  return { codes: bytes(codes), scaleCodes: bytes(scaleCodes), zeroCodes: bytes(zeroCodes), secondOrder }
}
