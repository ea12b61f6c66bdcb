/**
 * One-shot magnitude pruning: the smallest weights become 0 at once, and nothing corrects the rest. The baseline of
 * SparseGPT and Wanda.
 *
 *   score    S  = |W|                         Han et al. 2015, arXiv:1506.02626, section 3
 *   mask     M  = 0 on the floor(s N) smallest S of the layer, of each row, or of each m neighbours
 *   result   W' = M * W
 *
 * W is [out, in] and finite. Of equal scores the first in row-major order go first. Needs no calibration data. The
 * training method `magnitude` prunes on a schedule instead.
 */
import type { LayerMethod, LayerTask } from '../calibrate/method.ts'
import { type SparseSweepOptions, sparseSweep } from '../nn/sparse_sweep.ts'
import { OptionError } from '../tensor/errors.ts'
import {
  type CheckedOneShot,
  checkedOneShot,
  checkGroups,
  jointGrid,
  type OneShotOptions,
  prunedEdit,
  zerosOf,
} from './one_shot.ts'

export interface OneShotMagnitudeOptions extends OneShotOptions {
  /**
   * Whose weights are ranked together: those of the layer, of a row, or so many neighbours of a row, which divide it.
   * Rows of their own keep every output alive. @default 'layer'
   */
  scope?: 'layer' | 'row' | number
}

/**
 * @throws OptionError here for impossible options, from `compress` for inputs that n:m or the scope does not divide
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
      const { name, current, mask } = task
      const result = sparseSweep(current, {
        ...magnitudeChoice(task, checked, scope),
        ...{ name, mask, grid: jointGrid(task), numbers: checked.numbers },
      })
      return prunedEdit(result, checked.numbers, { notes: [] })
    },
  }
}

/** What a sweep without a factor prunes, whose scores are |W|. */
export function magnitudeChoice(
  { name, current }: LayerTask,
  { groups, sparsity }: CheckedOneShot,
  scope: 'layer' | 'row' | number,
): Pick<SparseSweepOptions, 'choice' | 'slab'> {
  const [rows, columns] = current.shape as [number, number]
  checkGroups(name, columns, groups)
  if (groups) return { choice: { kind: 'n:m', n: groups.n, m: groups.m }, slab: columns }
  if (scope === 'layer')
    return {
      choice: { kind: 'slabs', zeros: Uint32Array.of(zerosOf(rows * columns, sparsity)) },
      slab: columns,
    }
  const m = scope === 'row' ? columns : scope
  if (columns % m !== 0)
    throw new OptionError(
      `${name}: ranks ${m} neighbours, which need inputs divisible by ${m}, got ${columns}; rank rows, or leave the weight out`,
      { facts: { inputs: columns, m } },
    )
  return { choice: { kind: 'n:m', n: m - zerosOf(m, sparsity), m }, slab: columns }
}
