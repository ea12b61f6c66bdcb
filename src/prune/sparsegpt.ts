/**
 * SparseGPT: columns are pruned one after the other, and what a weight was worth goes to those still to come.
 *
 *   H = X^T X + damping * mean(diag H) * I,  H^-1 = U^T U     Frantar and Alistarh 2023, arXiv:2301.00774, section 3
 *   score    S_ij = w_ij^2 / U_jj^2                            eq. 5, on weights as corrected so far
 *   mask     M = 0 on the floor(s N) smallest S of a slab of columns over all rows, or on all but n of every m
 *            neighbours, chosen when the sweep reaches them    section 3.3
 *   error    e = (w_j - M w_j) / U_jj,  w_k <- w_k - e U_jk for k > j    eq. 3, algorithm 1
 *
 * W is [out, in]; X holds the inputs of the layer, one token a row. What lives is rounded to its stored type in the
 * sweep, or to the grid of the task (section 3.5), with a group fitted on weights as corrected so far. Differs from the
 * published code: it prunes exactly the share that is asked for, where `inclusive` takes one weight more of each slab
 * and all that tie with it; and weights that an earlier step pruned stay 0.
 */
import { checkBlockSize, checkDamping, layerFactor } from '../calibrate/layer_factor.ts'
import type { LayerMethod } from '../calibrate/method.ts'
import { type SparseChoice, sparseSweep } from '../nn/sparse_sweep.ts'
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
import { magnitudeChoice } from './one_shot_magnitude.ts'

export interface SparseGptOptions extends OneShotOptions {
  /** Added to the diagonal, as a share of its mean; above 0. Raise it where the report names few tokens. @default 0.01 */
  damping?: number
  /**
   * Columns of a slab, whose zeros are chosen together, from 1 on; m divides it. 16 to 256 are alike, 1 forces the
   * same share on every column and is worse. @default 128
   */
  blockSize?: number
  /** Columns between two updates of all later ones; changes speed, not results. @default the block size */
  lazyBlock?: number
  /** Groups of a grid are fitted before the sweep, as the paper does with one a row. @default false */
  staticGroups?: boolean
  /** The count of the published code, to compare with it: one more of each slab, and its ties. @default false */
  inclusive?: boolean
  /** Where no damping gives a factor: stop, or prune by magnitude and say so. @default 'throw' */
  onSingular?: 'throw' | 'magnitude'
}

/**
 * @throws OptionError here for impossible options, from `compress` for inputs that n:m does not divide; NumericalError
 *   from `compress` where H has no factor
 * @example sparsegpt({ sparsity: 0.5 }).compress({ name, dense, current: dense, statistics: { gram, rows } })
 */
export function sparsegpt(options: SparseGptOptions = {}): LayerMethod {
  const checked = checkedOneShot('sparsegpt', options)
  const { sparsity, groups, numbers } = checked
  const { damping = 0.01, blockSize = 128, staticGroups = false, inclusive = false } = options
  const { lazyBlock = blockSize, onSingular = 'throw' } = options
  checkDamping(damping)
  for (const size of [blockSize, lazyBlock]) checkBlockSize(size)
  if (groups && blockSize % groups.m !== 0)
    throw new OptionError(
      `sparsegpt: ${groups.n}:${groups.m} needs a block size divisible by ${groups.m}, got ${blockSize}; 128 is usual`,
    )
  if (inclusive && (groups || sparsity === 1))
    throw new OptionError(
      'sparsegpt: the inclusive count is of unstructured sparsities below 1; leave it out',
    )
  return {
    name: 'sparsegpt',
    needs: ['gram'],
    compress(task) {
      const { name, current, mask } = task
      const [rows, columns] = current.shape as [number, number]
      checkGroups(name, columns, groups)
      const grid = jointGrid(task)
      const known = layerFactor(task, { method: 'sparsegpt', damping, onSingular })
      if (!known.factor) {
        const fallback = magnitudeChoice(task, checked, 'layer')
        const notes = ['pruned by magnitude, since its Gram matrix has no factor']
        return prunedEdit(sparseSweep(current, { ...fallback, name, mask, grid, numbers }), numbers, {
          notes,
        })
      }
      const choice: SparseChoice = groups
        ? { kind: 'n:m', n: groups.n, m: groups.m }
        : {
            kind: 'slabs',
            zeros: zerosOfSlabs([rows, columns], checked, blockSize, inclusive),
            ties: inclusive,
          }
      const result = sparseSweep(known.weight, {
        ...{ name, factor: known.factor, mask, choice, grid, numbers, staticGroups },
        ...{ slab: blockSize, block: lazyBlock },
      })
      return prunedEdit(result, numbers, { damping: known.damping!, notes: known.notes })
    },
  }
}

function zerosOfSlabs(
  [rows, columns]: readonly [number, number],
  { sparsity }: CheckedOneShot,
  blockSize: number,
  inclusive: boolean,
): Uint32Array {
  return Uint32Array.from({ length: Math.ceil(columns / blockSize) }, (_, slab) => {
    const width = Math.min(blockSize, columns - slab * blockSize)
    return zerosOf(rows * width, sparsity) + (inclusive ? 1 : 0)
  })
}
