/**
 * Isotonic regression: the non-increasing sequence nearest to measured values.
 *
 *   minimise  sum_i w_i (f_i - y_i)^2   subject to   f_1 >= f_2 >= ...
 *
 * by pooling adjacent violators (Ayer et al. 1955): each run of values that rise is replaced by its weighted mean. The
 * weighted sum is kept. O(n).
 */

/** `weights` are above 0 and finite, one for each value. */
export function nonIncreasing(values: readonly number[], weights: readonly number[]): number[] {
  const pools: { mean: number; weight: number; size: number }[] = []
  for (const [i, value] of values.entries()) {
    let pool = { mean: value, weight: weights[i]!, size: 1 }
    while (pools.length > 0 && pools.at(-1)!.mean < pool.mean) {
      const before = pools.pop()!
      const weight = before.weight + pool.weight
      // The step from one mean towards the other cannot leave what lies between them.
      const mean = before.mean + (pool.mean - before.mean) * (pool.weight / weight)
      pool = { mean, weight, size: before.size + pool.size }
    }
    pools.push(pool)
  }
  return pools.flatMap(({ mean, size }) => Array<number>(size).fill(mean))
}
