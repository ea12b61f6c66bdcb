/** How alike two lists of numbers order the same things. */
import { OptionError } from '../tensor/errors.ts'

/**
 * Spearman's rank correlation: Pearson's of the ranks, from -1 to 1. Equal numbers share the mean of their ranks, as in
 * scipy.stats.spearmanr; NaN where all numbers of a list are equal.
 *
 * @throws OptionError for lists of different lengths, of fewer than two numbers, or with NaN
 * @example spearman([1, 2, 3], [10, 30, 20]) // 0.5
 */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length || a.length < 2)
    throw new OptionError(
      `spearman: needs two lists of the same length, 2 or more, got ${a.length} and ${b.length} numbers`,
    )
  const [x, y] = [ranks(a), ranks(b)]
  const middle = (a.length + 1) / 2
  let [both, ofX, ofY] = [0, 0, 0]
  for (const [i, rank] of x.entries()) {
    const [dx, dy] = [rank - middle, y[i]! - middle]
    both += dx * dy
    ofX += dx * dx
    ofY += dy * dy
  }
  return both / Math.sqrt(ofX * ofY)
}

/** From 1 on. */
function ranks(values: ArrayLike<number>): Float64Array {
  const order = Uint32Array.from({ length: values.length }, (_, i) => i)
  for (let i = 0; i < values.length; i++)
    if (Number.isNaN(values[i]!)) throw new OptionError(`spearman: numbers are needed, got NaN at ${i}`)
  order.sort((i, j) => values[i]! - values[j]!)
  const found = new Float64Array(values.length)
  for (let start = 0; start < order.length; ) {
    let end = start + 1
    while (end < order.length && values[order[end]!]! === values[order[start]!]!) end++
    for (let i = start; i < end; i++) found[order[i]!] = (start + 1 + end) / 2
    start = end
  }
  return found
}
