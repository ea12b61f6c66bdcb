/**
 * The search for scales of input channels that weights lose least with when they are rounded.
 *
 *   a_c = mean |x_c|                                                        Lin et al. 2023, arXiv:2306.00978, section 3.2
 *   s_c = max(a_c^r, 1e-4),  r = 0, 1/n .. (n - 1)/n                        eq. 5, as the published code has it
 *   s   = s / sqrt(max(s) min(s))
 *   W'  = Q(W diag(s)) diag(s)^-1                                           what a reader of the scaled model gets
 *   r*  = argmin |f(W', X) - f(W, X)|^2                                     eq. 4; f is the module that the weights belong to
 *
 * With `duoScaling`, s_c = max(a_c^r / (b_c^(1 - r) + 1e-4), 1e-4), where b_c is the mean over outputs of |W_c| / max |W| of
 * its group: what AutoAWQ adds. W without scales is always one of the candidates, so that no search loses against rounding.
 */

import { blockTypeOf } from '../nn/block_types.ts'
import { columnSweep } from '../nn/column_sweep.ts'
import { type Grid, groupWidth } from '../nn/grid.ts'
import { NumericalError } from '../tensor/errors.ts'
import { concat, scope, type Tensor, tensor } from '../tensor/index.ts'

/** A weight and what it will be rounded to; none where it stays as it is. */
export interface SearchedWeight {
  readonly name: string
  /** [out, in], f32 or f64. */
  readonly weight: Tensor
  readonly grid: Grid | undefined
}

export interface ScaleSearchOptions {
  /** Weights that share their inputs. */
  readonly weights: readonly SearchedWeight[]
  /** Mean |x| of each input, finite. */
  readonly means: Float64Array
  /** The loss with these weights in the place of the others, in their order. */
  loss(rounded: readonly Tensor[]): number
  /** n. */
  readonly gridPoints: number
  readonly duoScaling: boolean
}

export interface FoundScales {
  /** s, one an input. */
  readonly scales: Float64Array
  /** r*; nothing where no scales are best and r = 0 has some. */
  readonly exponent: number | undefined
  readonly loss: number
  /** The loss without scales: of rounding alone. */
  readonly lossOfRounding: number
}

/** The scales of least loss; of equal ones the smaller r. @throws NumericalError where no loss is finite */
export function searchScales(options: ScaleSearchOptions): FoundScales {
  const { weights, means, gridPoints, duoScaling } = options
  const shares = duoScaling ? weightShares(weights) : undefined
  const lossWith = (scales: Float64Array) =>
    scope(() => options.loss(weights.map((each) => roundedWith(each, scales))))
  const plain = new Float64Array(means.length).fill(1)
  const lossOfRounding = lossWith(plain)
  let best: FoundScales = {
    scales: plain,
    exponent: duoScaling ? undefined : 0,
    loss: lossOfRounding,
    lossOfRounding,
  }
  // Without b, r = 0 is the weight without scales.
  for (let point = duoScaling ? 0 : 1; point < gridPoints; point++) {
    const exponent = point / gridPoints
    const scales = scalesOf(means, exponent, shares)
    const loss = lossWith(scales)
    if (loss < best.loss) best = { scales, exponent, loss, lossOfRounding }
  }
  if (Number.isFinite(lossOfRounding)) return best
  throw new NumericalError(
    `${weights[0]!.name}: the output of its module is not finite on the calibration text; check that the model computes finite values`,
    { code: 'PARE_E_NOT_FINITE', facts: { weight: weights[0]!.name } },
  )
}

/** s of an exponent r. */
export function scalesOf(means: Float64Array, exponent: number, shares?: Float64Array): Float64Array {
  const raw = means.map((mean, c) => {
    const ofInputs = mean ** exponent
    return Math.max(shares ? ofInputs / (shares[c]! ** (1 - exponent) + 1e-4) : ofInputs, 1e-4)
  })
  let [low, high] = [Number.POSITIVE_INFINITY, 0]
  for (const value of raw) [low, high] = [Math.min(low, value), Math.max(high, value)]
  const middle = Math.sqrt(high * low)
  return raw.map((value) => value / middle)
}

/** Q(W diag(s)) diag(s)^-1. The caller's scope owns it. */
export function roundedWith({ weight, grid }: SearchedWeight, scales: Float64Array): Tensor {
  if (!grid) return weight
  return scope(() => {
    const row = tensor(scales, [1, scales.length], weight.dtype)
    return columnSweep(weight.mul(row), { grid }).dense.div(row)
  })
}

/** b: how much of the range of its group a column takes, over all outputs of all weights. */
function weightShares(weights: readonly SearchedWeight[]): Float64Array {
  const sums = scope(() => {
    const of = weights.map(({ weight, grid }) => {
      const sizes = weight.abs()
      const columns = weight.extent(1)
      const width = widthOfGroups(grid, columns)
      const parts = Array.from({ length: Math.ceil(columns / width) }, (_, group) => {
        const part = sizes.slice(1, group * width, Math.min(columns, (group + 1) * width))
        return part.div(part.max([1], { keepDims: true }).add(1e-6)).sum([0], { keepDims: true })
      })
      return concat(parts, 1)
    })
    return concat(of, 0).sum([0]).toArray() as ArrayLike<number>
  })
  const outputs = weights.reduce((sum, { weight }) => sum + weight.extent(0), 0)
  return Float64Array.from(sums, (sum) => sum / outputs)
}

/** Columns that one scale of a grid is fitted to at once. */
export function widthOfGroups(grid: Grid | undefined, columns: number): number {
  if (!grid) return columns
  return grid.kind === 'blocks' ? blockTypeOf(grid.type).blockLength : groupWidth(grid, columns)
}
