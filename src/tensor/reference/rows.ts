/** Numbers as rows, and back. */

export function rowsOf(
  x: Float64Array,
  width: number,
  count = width === 0 ? 0 : x.length / width,
): Float64Array[] {
  return Array.from({ length: count }, (_, i) => x.subarray(i * width, (i + 1) * width))
}

export function join(rows: readonly Float64Array[]): Float64Array {
  const out = new Float64Array(rows.reduce((total, row) => total + row.length, 0))
  let at = 0
  for (const row of rows) {
    out.set(row, at)
    at += row.length
  }
  return out
}
