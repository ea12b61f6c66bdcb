/**
 * Wanda: a weight counts for its size times the size of its input, compared within each output.
 *
 *   score    S_ij = |W_ij| * |X_j|_2          Sun et al. 2023, arXiv:2306.11695, eq. 1
 *   mask     M    = 0 on the floor(s C) smallest S of each row, or on all but n of every m neighbours
 *   result   W'   = M * W
 *
 * W is [out, in] and finite, |X_j| the norm of input j over all calibration tokens. Nothing corrects what lives. The
 * variant of the paper's appendix takes from each row the smallest scores that sum to at most a share a of the row, and
 * finds by bisection the a that gives the sparsity. Differs from the published code, which takes one weight more there.
 */
import type { LayerMethod } from '../calibrate/method.ts'
import { sparseSweep } from '../nn/sparse_sweep.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import type { Tensor } from '../tensor/index.ts'
import { type Mask, topMask } from './mask.ts'
import {
  checkedOneShot,
  checkGroups,
  jointGrid,
  type OneShotOptions,
  prunedEdit,
  zerosOf,
} from './one_shot.ts'

export interface WandaOptions extends OneShotOptions {
  /**
   * Rows get the zeros that their sums of scores allow, not all the same number; unstructured only. Try it where
   * outputs differ much. @default false
   */
  variant?: boolean
}

/**
 * @throws OptionError here for impossible options, from `compress` for a task without squares of inputs; NumericalError
 *   from `compress` for squares that are not finite
 * @example wanda({ sparsity: 0.5 }).compress({ name, dense, current: dense, statistics: { squares, rows } })
 */
export function wanda(options: WandaOptions = {}): LayerMethod {
  const { sparsity, groups, numbers } = checkedOneShot('wanda', options)
  const { variant = false } = options
  if (variant && groups)
    throw new OptionError(
      `wanda: the variant gives each row its own sparsity, which n:m fixes; leave one of them out`,
    )
  return {
    name: 'wanda',
    needs: ['squares'],
    compress(task) {
      const { name, current, statistics } = task
      const columns = current.extent(1)
      checkGroups(name, columns, groups)
      const scores = scoresOf(name, current, statistics.squares)
      const notes: string[] = []
      let mask: Mask
      if (groups) mask = prunedRuns(scores, groups.m, () => groups.n, task.mask)
      else if (variant) {
        if (task.mask) for (let i = 0; i < scores.length; i++) if (!task.mask[i]) scores[i] = 0
        const { zeros, share } = zerosByShare(scores, columns, sparsity)
        mask = prunedRuns(scores, columns, (row) => columns - zeros[row]!, task.mask)
        notes.push(`rows give up to ${share} of their scores`)
      } else mask = prunedRuns(scores, columns, () => columns - zerosOf(columns, sparsity), task.mask)
      const dead = statistics.squares!.reduce((count, square) => count + (square === 0 ? 1 : 0), 0)
      if (dead > 0) notes.push(`${dead} inputs are always 0`)
      const result = sparseSweep(current, { name, mask, grid: jointGrid(task), numbers })
      return prunedEdit(result, numbers, { notes })
    },
  }
}

function scoresOf(name: string, weight: Tensor, squares: Float64Array | undefined): Float64Array {
  const [rows, columns] = weight.shape as [number, number]
  if (squares?.length !== columns)
    throw new OptionError(
      `${name}: wanda needs the squares of ${columns} inputs, got ${squares?.length ?? 'none'}; gather squares`,
    )
  if (!squares.every((square) => square >= 0 && Number.isFinite(square)))
    throw new NumericalError(
      `${name}: the inputs of this layer are not finite; the model or its text is damaged`,
      { code: 'PARE_E_NOT_FINITE' },
    )
  const norms = squares.map(Math.sqrt)
  const weights = weight.toArray() as Float32Array | Float64Array
  const scores = new Float64Array(rows * columns)
  for (let row = 0, at = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, at++)
      scores[at] = Math.abs(weights[at]!) * norms[column]!
  return scores
}

/**
 * Prunes the smallest scores of each run of `length`; of equal ones the first go first, as in a stable sort. What is
 * pruned already stays so, and counts.
 *
 * @param kept of each run that many live at most; a function of the run's number and length
 */
function prunedRuns(
  scores: Float64Array,
  length: number,
  kept: (run: number, length: number) => number,
  before: Mask | undefined,
): Mask {
  const mask = new Uint8Array(scores.length)
  for (let start = 0, run = 0; start < scores.length; start += length, run++) {
    const own = scores.subarray(start, start + length)
    let living = own.length
    if (before)
      for (let i = 0; i < own.length; i++)
        if (!before[start + i]) {
          own[i] = -1
          living--
        }
    mask.set(topMask(own, Math.min(living, kept(run, own.length)), 'latest'), start)
  }
  return mask
}

/** Zeros of each row whose scores sum to at most a share of all of the row's, with the share that gives the sparsity. */
function zerosByShare(scores: Float64Array, columns: number, sparsity: number) {
  const rows = scores.length / columns
  const sums = new Float64Array(scores.length)
  for (let start = 0; start < scores.length; start += columns) {
    const sorted = scores.slice(start, start + columns).sort()
    let sum = 0
    for (const [i, score] of sorted.entries()) sums[start + i] = sum += score
  }
  const zerosAt = (share: number) =>
    Uint32Array.from({ length: rows }, (_, row) => {
      const own = sums.subarray(row * columns, (row + 1) * columns)
      return firstAbove(own, share * own[columns - 1]!)
    })
  let [low, high, share] = [0, 0.8, 0.4]
  let zeros = zerosAt(share)
  // Shares that differ by less than rounding cannot come nearer.
  while (high - low > 2 ** -40) {
    const found = zeros.reduce((sum, count) => sum + count, 0) / scores.length
    if (Math.abs(found - sparsity) <= 0.001) break
    if (found > sparsity) high = share
    else low = share
    share = (low + high) / 2
    zeros = zerosAt(share)
  }
  return { zeros, share }
}

/** How many of rising numbers are not above a limit. */
function firstAbove(rising: Float64Array, limit: number): number {
  let [low, high] = [0, rising.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (rising[middle]! <= limit) low = middle + 1
    else high = middle
  }
  return low
}
