/**
 * A weight that is rounded to nearest within ranges that can be learned, one for each group of columns.
 *
 *   high = sigmoid(u) max(w, 0),  low = sigmoid(l) min(w, 0)      Shao et al. 2024, arXiv:2308.13137, eq. 2
 *   w'   = nearest level of the grid of min(max(w, low), high)
 *   symmetric grids: the range is as wide on both sides as the wider one
 *
 * The gradient goes through the rounding of codes, scales and zeros as if there were none (straight through): what is inside
 * the range moves with the step h by (w' - w) / h, what is outside moves with the bound. Differs from the published code,
 * where zeros are rounded without a gradient, so that what is clipped moves with the step alone.
 */
import {
  concat,
  customGradient,
  linear,
  maximum,
  minimum,
  scope,
  type Tensor,
  where,
  zeros,
} from '../tensor/index.ts'
import { columnSweep } from './column_sweep.ts'
import { type AffineGrid, type AffineValues, gridBits, groupWidth } from './grid.ts'
import type { WeightSource } from './weight_source.ts'

/** What is learned of a weight [rows, columns] with so many groups a row, [rows, groups], in the type of the weight. */
export interface ClipLogits {
  /** Of the share of the largest weight. */
  readonly upper: Tensor
  /** Of the share of the smallest one. */
  readonly lower: Tensor
}

/** Values with what a reader of them gets, both [rows, columns]. */
export interface ClippedValues {
  readonly values: AffineValues
  readonly dense: Tensor
}

/** The weight on its grid, with the ranges of now. The caller's scope owns it. */
export function clipToGrid(weight: Tensor, grid: AffineGrid, logits: ClipLogits): ClippedValues {
  return scope(() => {
    return rounded(weight, grid, rangesOf(weight, grid), logits)
  })
}

export interface ClippedSource extends WeightSource {
  /** As it is stored now. The caller's scope owns it. */
  stored(): ClippedValues
}

/**
 * A weight whose ranges are trained: gradients reach `logits`, tensors of `Parameters`, and never the weight.
 *
 * @param weight [rows, columns], f32 or f64, finite; it stays the caller's
 * @param grid without a search, which would choose the ranges itself
 * @example
 * const start = fullLike(..., 4)
 * layer.source = clippedSource(weight, grid, { upper: parameters.add('q.upper', start), lower: parameters.add('q.lower', start) })
 */
export function clippedSource(weight: Tensor, grid: AffineGrid, logits: ClipLogits): ClippedSource {
  const ranges = rangesOf(weight, grid)
  const decoded = customGradient({
    name: 'clipToGrid',
    forward: ([upper, lower]: readonly [Tensor, Tensor]) => {
      const output = scope(() => rounded(weight, grid, ranges, { upper, lower }).dense)
      return { output, saved: [output, upper, lower] as const }
    },
    backward: ({ saved: [output, upper, lower], gradient }) =>
      scope(() => gradients({ weight, output, gradient }, grid, ranges, { upper, lower })),
  })
  const dense = () => decoded(logits.upper, logits.lower)
  const shape = weight.shape as [number, number]
  const bits = gridBits(grid, shape)
  return {
    shape,
    matmul: (x, bias) => scope(() => linear(x, dense(), bias)),
    dense,
    parameters: () =>
      new Map([
        ['upper', logits.upper],
        ['lower', logits.lower],
      ]),
    size: () => ({ informationBits: bits, storedBits: bits }),
    stored: () => clipToGrid(weight, grid, logits),
    resources: () => [weight, logits.upper, logits.lower, ...Object.values(ranges)],
  }
}

/** Groups of a row of `columns`. */
export const groupsOf = (grid: AffineGrid, columns: number): number =>
  Math.ceil(columns / groupWidth(grid, columns))

/** Of each group, with 0 between them, [rows, groups, 1]. */
interface Ranges {
  readonly high: Tensor
  readonly low: Tensor
}

function rangesOf(weight: Tensor, grid: AffineGrid): Ranges {
  return scope(() => {
    const groups = grouped(weight, grid)
    return {
      high: maximum(groups.max([-1], { keepDims: true }), 0),
      low: minimum(groups.min([-1], { keepDims: true }), 0),
    }
  })
}

/** [rows, groups, width]; a short last group is filled up with zeros, which change no range. */
function grouped(x: Tensor, grid: AffineGrid): Tensor {
  const [rows, columns] = x.shape as [number, number]
  const width = groupWidth(grid, columns)
  const groups = groupsOf(grid, columns)
  const missing = groups * width - columns
  const whole = missing === 0 ? x : concat([x, zeros([rows, missing], x.dtype)], 1)
  return whole.reshape([rows, groups, width])
}

/** The bounds of now, [rows, groups, 1]. */
function bounds({ high, low }: Ranges, { symmetric }: AffineGrid, { upper, lower }: ClipLogits): Ranges {
  const top = high.mul(upper.sigmoid().unsqueeze(-1))
  const bottom = low.mul(lower.sigmoid().unsqueeze(-1))
  if (!symmetric) return { high: top, low: bottom }
  const wide = maximum(top, bottom.neg())
  return { high: wide, low: wide.neg() }
}

/** A grid that is fitted to clipped weights has their bounds for its range. */
function rounded(weight: Tensor, grid: AffineGrid, ranges: Ranges, logits: ClipLogits): ClippedValues {
  const { high, low } = bounds(ranges, grid, logits)
  const groups = grouped(weight, grid)
  const [rows, columns] = weight.shape as [number, number]
  const flat = (x: Tensor) => x.reshape([rows, -1]).slice(1, 0, columns).contiguous()
  const swept = columnSweep(flat(minimum(maximum(groups, low), high)), { grid })
  const values = swept.values as AffineValues
  if (!grid.symmetric) return { values, dense: swept.dense }
  // The lowest level is half a step below the bound, which a clipped weight may round up from.
  const below = groups.less(low)
  const lowest = values.scales
    .cast(weight.dtype)
    .mul(-(2 ** (grid.bits - 1)))
    .unsqueeze(-1)
  const codes = where(flat(below), 0, values.codes.cast(weight.dtype)).cast('u8')
  return { values: { ...values, codes }, dense: flat(where(below, lowest, grouped(swept.dense, grid))) }
}

/** Of both logits, [rows, groups]. */
function gradients(
  { weight, output, gradient }: { weight: Tensor; output: Tensor; gradient: Tensor },
  grid: AffineGrid,
  ranges: Ranges,
  logits: ClipLogits,
): [Tensor, Tensor] {
  const { high, low } = bounds(ranges, grid, logits)
  const [w, rounded, g] = [weight, output, gradient].map((x) => grouped(x, grid)) as [Tensor, Tensor, Tensor]
  const sum = (x: Tensor) => x.sum([-1], { keepDims: true })
  const [above, below] = [w.greater(high).cast(w.dtype), w.less(low).cast(w.dtype)]
  const outside = above.add(below)
  const inside = sum(
    outside
      .neg()
      .add(1)
      .mul(g.mul(rounded.sub(w))),
  )
  // A group of zeros alone has no range, and nothing that moves with it.
  const span = high.sub(low)
  const range = span.add(span.equal(0).cast(w.dtype))
  const slope = (logit: Tensor) =>
    scope(() => {
      const share = logit.sigmoid()
      return share.mul(share.neg().add(1)).unsqueeze(-1)
    })
  const [upper, lower] = [ranges.high.mul(slope(logits.upper)), ranges.low.mul(slope(logits.lower))]
  const flat = (x: Tensor) => x.squeeze(-1)
  if (!grid.symmetric) {
    const moved = inside.div(range)
    return [flat(upper.mul(moved.add(sum(above.mul(g))))), flat(lower.mul(sum(below.mul(g)).sub(moved)))]
  }
  // Both bounds follow the wider side; what lies outside is at a level, which is a share of the bound.
  const moved = inside.add(sum(outside.mul(g.mul(rounded)))).div(range.mul(0.5))
  const wins = ranges.high.mul(logits.upper.sigmoid().unsqueeze(-1)).greaterEqual(high).cast(w.dtype)
  return [flat(upper.mul(moved).mul(wins)), flat(lower.mul(moved).mul(wins.sub(1)))]
}
