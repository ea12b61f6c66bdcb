/** Rows of a matrix in parts that fit a bound, so that no more of it is in memory at a time. */

export interface RowRange {
  readonly start: number
  /** Exclusive. */
  readonly end: number
}

/**
 * Parts of at most `most`, of one row at least; rows of nothing are one part together.
 *
 * @param rowSize of a row, in bytes, numbers, or whatever `most` counts
 * @example rowRanges(5, 8, 16)  // rows 0 to 2, 2 to 4, 4 to 5
 */
export function rowRanges(rows: number, rowSize: number, most: number): RowRange[] {
  const step = rowSize > 0 ? Math.max(1, Math.floor(most / rowSize)) : Math.max(1, rows)
  return Array.from({ length: Math.ceil(rows / step) }, (_, i) => ({
    start: i * step,
    end: Math.min(rows, (i + 1) * step),
  }))
}
