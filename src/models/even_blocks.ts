/**
 * Neighbouring ranges of 0 to `count`, each of at most `most`, whose sizes differ by one at most: a last block of few
 * rows would be multiplied by other kernels, whose sums have another order.
 *
 * @example evenBlocks(7, 3) // [[0, 2], [2, 4], [4, 7]]
 */
export function evenBlocks(count: number, most: number): [start: number, end: number][] {
  const blocks = Math.ceil(count / Math.max(1, Math.floor(most)))
  const bound = (index: number) => Math.floor((index * count) / blocks)
  return Array.from({ length: blocks }, (_, index) => [bound(index), bound(index + 1)])
}
