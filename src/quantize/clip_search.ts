/**
 * The search for bounds of weights: a group whose few largest weights are cut has a finer grid for all others.
 *
 *   m      = max |w| of a group of one output                        Lin et al. 2023, arXiv:2306.00978, as the published code has it
 *   bound  = m (1 - i/20),  i = 0 .. 9
 *   error  = mean over tokens of (x_group . (Q(clamp(w, bound)) - w))^2
 */
import { columnSweep } from '../nn/column_sweep.ts'
import type { Grid } from '../nn/grid.ts'
import { matmul, maximum, minimum, scope, type Tensor } from '../tensor/index.ts'
import { widthOfGroups } from './scale_search.ts'

/** Steps of 1/20 of the largest weight, 10 candidates: at least 0.55 of it is left. */
const [candidates, steps] = [10, 20]

export interface ClipBounds {
  /** Of each group of each output, [rows * groups]. */
  readonly bounds: Float32Array
  /** Columns of a group; the last one of a row may have fewer. */
  readonly groupSize: number
  /** Groups that are cut. */
  readonly cut: number
}

/**
 * The bound of least error for every group of every output; of equal ones the wider.
 *
 * @param weight [out, in], f32 or f64
 * @param x some inputs, [tokens, in]
 */
export function searchClip(weight: Tensor, x: Tensor, grid: Grid): ClipBounds {
  const [rows, columns] = weight.shape as [number, number]
  const groupSize = widthOfGroups(grid, columns)
  const groups = Math.ceil(columns / groupSize)
  const bounds = new Float32Array(rows * groups)
  let cut = 0
  for (let group = 0; group < groups; group++) {
    const [start, end] = [group * groupSize, Math.min(columns, (group + 1) * groupSize)]
    scope(() => {
      const found = boundsOfGroup(
        weight.slice(1, start, end).contiguous(),
        x.slice(1, start, end).contiguous(),
        grid,
      )
      found.forEach(({ bound, shrunk }, row) => {
        bounds[row * groups + group] = bound
        if (shrunk) cut++
      })
    })
  }
  return { bounds, groupSize, cut }
}

/** One group of all outputs: w [out, width], x [tokens, width]. */
function boundsOfGroup(w: Tensor, x: Tensor, grid: Grid): { bound: number; shrunk: boolean }[] {
  const ofGroup: Grid = grid.kind === 'blocks' ? grid : { ...grid, groupSize: 'row' }
  const largest = w.abs().max([1], { keepDims: true }) // [out, 1]
  const best = Array.from(largest.toArray() as ArrayLike<number>, (bound) => ({
    bound,
    shrunk: false,
    error: Number.POSITIVE_INFINITY,
  }))
  for (let i = 0; i < candidates; i++) {
    const [errors, bounds] = scope(() => {
      const bound = largest.mul(1 - i / steps)
      const clamped = maximum(minimum(w, bound), bound.neg())
      const lost = columnSweep(clamped, { grid: ofGroup }).dense.sub(w)
      return [matmul(x, lost.transpose()).square().sum([0]).toArray(), bound.toArray()]
    }) as [ArrayLike<number>, ArrayLike<number>]
    best.forEach((known, row) => {
      if (!(errors[row]! < known.error)) return
      best[row] = { bound: bounds[row]!, shrunk: i > 0, error: errors[row]! }
    })
  }
  return best
}
