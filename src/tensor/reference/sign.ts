/** The free sign of singular and eigenvectors, fixed: the entry of largest magnitude of a column is positive. */

/** 1 or -1 for each column of x [rows, columns]; of equal magnitudes the first decides. */
export function largestPositive(x: Float64Array, rows: number, columns: number): number[] {
  return Array.from({ length: columns }, (_, c) => {
    let largest = 0
    for (let r = 0; r < rows; r++) {
      if (Math.abs(x[r * columns + c]!) > Math.abs(largest)) largest = x[r * columns + c]!
    }
    return largest < 0 ? -1 : 1
  })
}
