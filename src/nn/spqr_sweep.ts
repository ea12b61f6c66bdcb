/**
 * The column sweep with grids of small groups and outliers beside them. The arithmetic stands in
 * native/src/spqr_rule.rs, its oracle beside the test.
 */
import { Tensor, tensor } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import { neighbourGroups } from './grid.ts'
import type { SparseRowValues } from './values/sparse_rows.ts'
import type { StoredValues } from './values/values.ts'

export interface SpqrSweepOptions {
  /** Bits of a weight, 1 to 8. */
  bits: number
  /** Columns that share a scale; it divides the columns. */
  groupSize: number
  /** Scales and zeros are codes of so many bits, shared by runs of rows; otherwise f16. */
  second?: { scaleBits: number; zeroBits: number; run: number } | undefined
  /** Zeros are codes of the weights, and 0 is a level. */
  roundZero: boolean
  /** Outliers have more squared error over d^2 than this share of the mean variance over d^2. Infinity keeps none. */
  threshold: number
  /** Ranges of groups are fitted without likely outliers. */
  leaveOneOut: boolean
  /** Columns between two updates of all later ones. */
  block: number
  /** U transposed, [columns, columns] in sweep order; without it each group is rounded on its own. */
  factor?: Tensor | undefined
  /** Column of the weight at each position of the sweep. @default first to last */
  order?: Uint32Array | undefined
}

export interface SpqrSweepResult {
  values: StoredValues
  /** The chosen values [rows, columns], in the type of the weight. */
  dense: Tensor
  /** Half the sum of e^2 of each row, [rows]. */
  losses: Tensor
  /** Weights that are kept beside the grid. */
  outliers: number
}

/** @param weight [rows, columns] in f32 or f64 @throws NumericalError where a weight is not finite, or none of f16 */
export function spqrSweep(weight: Tensor, options: SpqrSweepOptions): SpqrSweepResult {
  const { bits, groupSize, second, roundZero, threshold, leaveOneOut, block, factor, order } = options
  const [rows, columns] = weight.shape as [number, number]
  const places = order && tensor(order, [columns], 'u32')
  const run = second?.run ?? 16
  const result = callNative((native) =>
    native.sweepSpqr(weight.handle, factor?.handle, places?.handle, {
      ...{ bits, groupSize, run, roundZero, leaveOneOut, block },
      ...(second && { scaleBits: second.scaleBits, zeroBits: second.zeroBits }),
      ...(threshold < Number.POSITIVE_INFINITY && { threshold }),
    }),
  )
  const { kernels } = weight
  const groups = columns / groupSize
  const wrap = (
    handle: number,
    dtype: 'u8' | 'u32' | 'f32' | typeof weight.dtype,
    shape: readonly number[],
  ) => new Tensor(kernels, handle, dtype, shape)
  const codes = wrap(result.codes, 'u8', [rows, columns])
  const scales = wrap(result.scales, 'f32', [rows, groups])
  const zeros = wrap(result.zeros, 'f32', [rows, groups])
  const list = (handle: number, dtype: 'u32' | 'f32', length: number) =>
    wrap(handle, dtype, [length]).toArray()
  const rowOffsets = list(result.rowOffsets, 'u32', rows + 1) as Uint32Array
  const entries = rowOffsets[rows]!
  const outliers: SparseRowValues = {
    ...{ kind: 'sparse_rows', shape: [rows, columns], rowOffsets, valueType: 'f16' },
    columns: list(result.outlierColumns, 'u32', entries) as Uint32Array,
    values: list(result.outlierValues, 'f32', entries) as Float32Array,
  }
  const zeroCodes = wrap(result.zeroCodes, 'u8', [rows, groups])
  let values: StoredValues
  if (second) {
    const { scaleBits, zeroBits } = second
    const parts = wrap(result.second, 'f32', [4, Math.ceil(rows / run), groups])
    const part = (index: number) =>
      parts
        .slice(0, index, index + 1)
        .reshape([rows / run, groups])
        .contiguous()
    const grid: StoredValues = {
      ...{ kind: 'bilevel', bits, scaleBits, zeroBits: roundZero ? bits : zeroBits },
      tile: { rows: run, columns: groupSize },
      codes,
      scaleCodes: wrap(result.scaleCodes, 'u8', [rows, groups]),
      zeroCodes,
      second: {
        ...{ scaleScale: part(0), scaleZero: part(1) },
        ...(!roundZero && { zeroScale: part(2), zeroZero: part(3) }),
      },
    }
    values = { kind: 'sum', terms: [grid, outliers], rounded: 'f16' }
  } else {
    const form = { bits, groupSize, scaleType: 'f16' } as const
    const groupOf = neighbourGroups(columns, groupSize)
    const grid: StoredValues = roundZero
      ? { kind: 'grid', grid: { ...form, symmetric: false }, codes, scales, zeros: zeroCodes, groupOf }
      : { kind: 'offset', form, codes, scales, offsets: zeros, groupOf }
    values = threshold < Number.POSITIVE_INFINITY ? { kind: 'sum', terms: [grid, outliers] } : grid
  }
  return {
    values: order ? { kind: 'permuted', values, order } : values,
    dense: wrap(result.dense, weight.dtype, weight.shape),
    losses: wrap(result.losses, weight.dtype, [rows]),
    outliers: entries,
  }
}
