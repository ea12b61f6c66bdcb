/** Marks of one row of a bitmask [rows, ceil(columns / 8)]; bits past the last column count for nothing. */
export function marksOfRow(mask: Uint8Array, row: number, columns: number): number {
  const width = Math.ceil(columns / 8)
  let marks = 0
  for (let byte = 0; byte < width; byte++) {
    const last = byte === width - 1 && columns % 8 !== 0
    let bits = mask[row * width + byte]! & (last ? 2 ** (columns % 8) - 1 : 0xff)
    for (; bits !== 0; bits &= bits - 1) marks++
  }
  return marks
}
