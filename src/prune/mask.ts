/**
 * Masks from scores: 1 where a score is kept, 0 where it is not, one byte each in row-major order.
 *
 *   kept    max(1, round(N (1 - s))) of N scores, halves to even        JaxPruner, arXiv:2304.14082, section 3
 *   mask    1 on the largest scores, with a rule for equal ones
 */
import { NumericalError, OptionError } from '../tensor/errors.ts'
import type { Shape } from '../tensor/index.ts'
import { kthLargest } from './kth_largest.ts'

/**
 * What happens to scores that equal the last one kept: the lowest or the latest indices fill the count exactly, or all
 * of them stay, which keeps more than was asked for.
 */
export type Ties = 'lowest' | 'latest' | 'all'

/** Numbers of a tensor, in row-major order. Higher ones are kept. */
export interface Scores {
  readonly values: Float32Array | Float64Array
  readonly shape: Shape
}

/** 0 and 1, in row-major order. */
export type Mask = Uint8Array

/** How many of `size` stay at a sparsity in [0, 1]; one at least, so that no tensor is cut off. @example keptCount(10, 0.85) // 2 */
export const keptCount = (size: number, sparsity: number): number =>
  Math.max(1, roundHalfToEven(size * (1 - sparsity)))

function roundHalfToEven(x: number): number {
  const below = Math.floor(x)
  if (x - below !== 0.5) return Math.round(x)
  return below % 2 === 0 ? below : below + 1
}

/**
 * 1 on the `kept` largest values.
 *
 * @param kept whole, from 0 to their count
 * @throws NumericalError where a value is NaN
 * @example topMask(Float32Array.of(1, 3, 2, 3), 2) // [0, 1, 0, 1]
 */
export function topMask(values: Float32Array | Float64Array, kept: number, ties: Ties = 'lowest'): Mask {
  const mask = new Uint8Array(values.length)
  for (let i = 0; i < values.length; i++)
    if (Number.isNaN(values[i]))
      throw new NumericalError('mask: a score is NaN; look at the weights and gradients it was made of')
  if (kept === 0) return mask
  if (kept === values.length) return mask.fill(1)
  const last = kthLargest(values, kept)
  let left = kept
  for (let i = 0; i < values.length; i++)
    if (values[i]! > last) {
      mask[i] = 1
      left--
    }
  const at = (i: number) => (ties === 'latest' ? values.length - 1 - i : i)
  if (ties === 'all') left = values.length
  for (let i = 0; i < values.length && left > 0; i++)
    if (values[at(i)] === last) {
      mask[at(i)] = 1
      left--
    }
  return mask
}

/** @throws OptionError, which begins with `at`, for a number outside of [0, 1) */
export function checkSparsity(at: string, sparsity: number): void {
  if (sparsity >= 0 && sparsity < 1) return
  throw new OptionError(
    `${at}: the sparsity must be in [0, 1), got ${sparsity}; 0.5 zeroes half of the weights`,
  )
}
