/**
 * How many units each row of a trace gives up, so that all rows together lose a wanted number.
 *
 *   heap   again and again the row whose next step is cheapest      Frantar and Alistarh 2022, arXiv:2208.11580, algorithm 2
 *   sort   rows lose as many as they have among the cheapest steps  the published code; a row's losses need not rise, so
 *                                                                   that a step may be counted without the one before it
 *   row    all rows lose the same number
 */
import type { ObsTrace } from '../nn/greedy_obs.ts'

export type Selection = 'heap' | 'sort' | 'row'

/** Units to remove of `all` at a sparsity; a product that misses a whole number by rounding counts as it. */
export const removedCount = (all: number, sparsity: number): number =>
  Math.min(all, Math.ceil(all * sparsity * (1 - 2 ** -40)))

/**
 * Counts by row; at least those that are gone already, which come first in their rows.
 *
 * @param gone units of each row that are gone already
 * @example removalCounts({ width: 1, units: 2, order, losses: Float64Array.of(1, 5, 2, 3) }, 3, 'heap', new Uint32Array(2)) // [1, 2]
 */
export function removalCounts(
  { units, losses }: ObsTrace,
  removed: number,
  selection: Selection,
  gone: Uint32Array,
): Uint32Array {
  const rows = gone.length
  if (selection === 'row') {
    const each = Math.min(units, Math.ceil(removed / Math.max(1, rows)))
    return gone.map((count) => Math.max(count, each))
  }
  const counts = gone.slice()
  let left = removed - gone.reduce((sum, count) => sum + count, 0)
  if (selection === 'sort') {
    const places: number[] = []
    for (let row = 0; row < rows; row++)
      for (let step = gone[row]!; step < units; step++) places.push(row * units + step)
    places.sort((a, b) => losses[a]! - losses[b]! || a - b)
    for (const place of places.slice(0, Math.max(0, left))) counts[Math.floor(place / units)]!++
    return counts
  }
  const next = (row: number) => losses[row * units + counts[row]!]!
  const heap = Array.from(counts.keys()).filter((row) => counts[row]! < units)
  const before = (a: number, b: number) => {
    const [x, y] = [next(a), next(b)]
    return x === y ? a < b : x < y
  }
  for (let i = (heap.length >> 1) - 1; i >= 0; i--) sink(heap, i, before)
  for (; left > 0 && heap.length > 0; left--) {
    const row = heap[0]!
    counts[row]!++
    if (counts[row] === units) {
      const last = heap.pop()!
      if (heap.length > 0) heap[0] = last
    }
    sink(heap, 0, before)
  }
  return counts
}

/** Moves the entry at a place down until none below comes before it. */
function sink(heap: number[], start: number, before: (a: number, b: number) => boolean): void {
  for (let at = start; ; ) {
    let first = at
    for (const child of [2 * at + 1, 2 * at + 2])
      if (child < heap.length && before(heap[child]!, heap[first]!)) first = child
    if (first === at) return
    ;[heap[at], heap[first]] = [heap[first]!, heap[at]!]
    at = first
  }
}
