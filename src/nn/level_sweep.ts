/**
 * The column sweep with a number of levels for each column, on one range a row. The arithmetic stands in
 * native/src/level_rule.rs, its oracle beside the test.
 */
import { Tensor, tensor } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import { type ColumnLevelValues, wordsNeeded } from './values/column_levels.ts'

export interface LevelSweepOptions {
  /** Of each column of the weight, 1 to 65535. A column of one level becomes 0. */
  levels: Uint16Array
  /** Columns of two levels have them around the middle of the range; otherwise one of them is 0. */
  centred: boolean
  /** U transposed, [columns, columns] in sweep order; without it each weight goes to its nearest level. */
  factor?: Tensor | undefined
  /** Column of the weight at each position of the sweep. @default first to last */
  order?: Uint32Array | undefined
}

export interface LevelSweepResult {
  values: ColumnLevelValues
  /** The chosen values [rows, columns], in the type of the weight. */
  dense: Tensor
  /** Half the sum of e^2 of each column, [columns]. */
  losses: Float64Array
  /** Weights that were outside of the range of their row when their turn came. */
  clipped: number
}

/** @param weight [rows, columns] in f32 or f64 @throws NumericalError where a weight is not finite, or none of f16 */
export function levelSweep(weight: Tensor, options: LevelSweepOptions): LevelSweepResult {
  const { centred, factor, order } = options
  const [rows, columns] = weight.shape as [number, number]
  const places = order && tensor(order, [columns], 'u32')
  const levels = tensor(options.levels, [options.levels.length], 'u16')
  const result = callNative((native) =>
    native.sweepLevels(weight.handle, factor?.handle, places?.handle, levels.handle, centred),
  )
  const { kernels } = weight
  const values: ColumnLevelValues = {
    kind: 'column_levels',
    shape: [rows, columns],
    levels,
    lows: new Tensor(kernels, result.lows, 'f32', [rows]),
    highs: new Tensor(kernels, result.highs, 'f32', [rows]),
    words: new Tensor(kernels, result.words, 'u64', [wordsNeeded(levels, rows)]),
    centred,
  }
  return {
    values,
    dense: new Tensor(kernels, result.dense, weight.dtype, weight.shape),
    losses: new Tensor(kernels, result.losses, 'f64', [columns]).toArray() as Float64Array,
    clipped: result.clipped,
  }
}
