/** Rows of a matrix in parts that fit a bound, so that no more of it is in memory as numbers. */
import { blockBytes } from '../numbers_in_blocks.ts'

export interface RowRange {
  readonly start: number
  /** Exclusive. */
  readonly end: number
}

/**
 * Parts of at most `most` bytes in f32, of one row at least.
 *
 * @example rowRanges(5, 2, 16)  // rows 0 to 2, 2 to 4, 4 to 5
 */
export function rowRanges(rows: number, columns: number, most: number = blockBytes): RowRange[] {
  const step = columns === 0 ? rows : Math.max(1, Math.floor(most / (4 * columns)))
  return Array.from({ length: Math.ceil(rows / step) }, (_, i) => ({
    start: i * step,
    end: Math.min(rows, (i + 1) * step),
  }))
}
