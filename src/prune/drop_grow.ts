/**
 * Moves connections of a sparse layer, at a constant count (SET, Mocanu et al. 2018, arXiv:1707.04780; RigL, Evci et al.
 * 2020, arXiv:1911.11134, algorithm 1). Of the n = |mask| connections a fraction f is dropped, those with the lowest
 * scores; as many grow where the scores for growing are highest, also where one was just dropped.
 *
 *   kept    max(1, round(n (1 - f))) of the old ones
 *   grown   n - kept of all others
 */
import { keptCount, type Mask, type Scores, topMask } from './mask.ts'
import { countNonZeros } from './sparsity.ts'

/**
 * The next mask, with as many ones as the old one; of equal scores the lowest indices are kept, and grown.
 *
 * Differs from JaxPruner: entries that may not be chosen, or must be, stand at infinity instead of 1e-5 beyond the
 * others, a distance that f32 loses beside large scores.
 *
 * @param fraction of connections that move, in [0, 1]
 * @example dropAndGrow(Uint8Array.of(1, 0), Float32Array.of(1, 0), Float32Array.of(0, 2), 0) // [1, 0]
 */
export function dropAndGrow(
  mask: Mask,
  dropScores: Scores['values'],
  growScores: Scores['values'],
  fraction: number,
): Mask {
  const count = countNonZeros(mask)
  const density = count / mask.length
  const kept = Math.min(count, keptCount(mask.length, 1 - density * (1 - fraction)))
  const survivors = topMask(
    dropScores.map((score, i) => (mask[i] ? score : Number.NEGATIVE_INFINITY)),
    kept,
  )
  return topMask(
    growScores.map((score, i) => (survivors[i] ? Number.POSITIVE_INFINITY : score)),
    count,
  )
}
