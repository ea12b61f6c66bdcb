/**
 * One-shot magnitude pruning: the smallest weights become 0 at once, and nothing corrects the rest. The baseline of
 * SparseGPT and Wanda.
 *
 *   score    S  = |W|                         Han et al. 2015, arXiv:1506.02626, section 3
 *   mask     M  = 0 on the floor(s N) smallest S of the layer, of each row, or of each m neighbours
 *   result   W' = M * W
 *
 * W is [out, in] and finite. Needs no calibration data. The training method `magnitude` prunes on a schedule instead.
 */
import type { LayerMethod } from '../calibrate/method.ts'
import { OptionError } from '../tensor/errors.ts'
import type { Tensor } from '../tensor/index.ts'
import type { Mask } from './mask.ts'
import {
  type CheckedOneShot,
  checkedOneShot,
  checkGroups,
  masked,
  type OneShotOptions,
  prunedEdit,
  prunedRuns,
  zerosOf,
} from './one_shot.ts'

export interface OneShotMagnitudeOptions extends OneShotOptions {
  /**
   * Whose weights are ranked together: those of the layer, of a row, or so many neighbours of a row. Rows of their own
   * keep every output alive. @default 'layer'
   */
  scope?: 'layer' | 'row' | number
}

/**
 * @throws OptionError here for impossible options, from `compress` for inputs that n:m does not divide
 * @example oneShotMagnitude({ sparsity: 0.5 }).compress({ name, dense, current: dense, statistics: { rows: 0 } })
 */
export function oneShotMagnitude(options: OneShotMagnitudeOptions = {}): LayerMethod {
  const checked = checkedOneShot('magnitude', options)
  const { scope = 'layer' } = options
  if (scope !== 'layer' && scope !== 'row' && !(Number.isSafeInteger(scope) && scope >= 1))
    throw new OptionError(
      `magnitude: ranks a layer, a row or a whole number of neighbours from 1 on, got ${scope}; 'layer' is usual`,
    )
  return {
    name: 'magnitude',
    needs: [],
    compress(task) {
      const mask = magnitudeMask(task.name, task.current, task.mask, checked, scope)
      return prunedEdit(masked(task, mask, checked.numbers), checked.numbers, { notes: [] })
    },
  }
}

/** Weights that live of a layer that was dense. */
export function oneShotMagnitudeKept(
  [rows, columns]: readonly [number, number],
  options: OneShotMagnitudeOptions,
): number {
  const { groups, sparsity } = checkedOneShot('magnitude', options)
  if (groups) return ((rows * columns) / groups.m) * groups.n
  if ((options.scope ?? 'layer') === 'layer') return rows * columns - zerosOf(rows * columns, sparsity)
  const length = options.scope === 'row' ? columns : Math.min(options.scope as number, columns)
  const rest = columns % length
  const zeros = Math.floor(columns / length) * zerosOf(length, sparsity) + zerosOf(rest, sparsity)
  return rows * (columns - zeros)
}

/** The mask of |W|, ranked as `scope` says. @param before what is pruned already */
export function magnitudeMask(
  name: string,
  weight: Tensor,
  before: Mask | undefined,
  { groups, sparsity }: CheckedOneShot,
  scope: 'layer' | 'row' | number,
): Mask {
  const [rows, columns] = weight.shape as [number, number]
  checkGroups(name, columns, groups)
  const scores = Float64Array.from(weight.toArray() as Float32Array, Math.abs)
  if (groups) return prunedRuns(scores, groups.m, () => groups.n, before)
  const kept = (_: number, length: number) => length - zerosOf(length, sparsity)
  if (scope === 'layer') return prunedRuns(scores, rows * columns, kept, before)
  const length = scope === 'row' ? columns : Math.min(scope, columns)
  if (columns % length === 0) return prunedRuns(scores, length, kept, before)
  // Neighbours do not go on in the next row: the last of each are fewer.
  const mask = new Uint8Array(rows * columns)
  for (let at = 0; at < mask.length; at += columns) {
    const own = before?.subarray(at, at + columns)
    mask.set(prunedRuns(scores.subarray(at, at + columns), length, kept, own), at)
  }
  return mask
}
