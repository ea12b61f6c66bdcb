/** Which matrices can be turned by random orthogonal maps, and how the maps are put together; no numbers, only sizes. */

/** Largest size of one map, whose factors then have at most 1024 rows. */
export const largestOrthogonal = 2 ** 18
/** Most weights of a matrix, which is f64 while it is turned: 2 GiB. */
export const mostTurned = 2 ** 28

/** A matrix of this shape can be turned on both sides. */
export const isTurnable = ([rows, columns]: readonly [number, number]): boolean =>
  Math.max(rows, columns) <= largestOrthogonal && rows * columns <= mostTurned

/**
 * Two factors as alike as possible, of the largest number up to `size` of which neither is above 256 or 2 sqrt(size). Sizes
 * below 256 are always met, primes by 1 and themselves.
 *
 * @example squarestFactors(576) // [24, 24]
 * @example squarestFactors(1009) // [28, 36], which leaves one
 */
export function squarestFactors(size: number): readonly [number, number] {
  const most = Math.max(256, 2 * Math.sqrt(size))
  for (let product = size; ; product--) {
    let left = Math.floor(Math.sqrt(product))
    while (product % left !== 0) left--
    if (product / left <= most) return [left, product / left]
  }
}
