/**
 * Codes of 1 to 16 bits as one little-endian stream of 32-bit words: code i of a run stands at bit b*i, and a run
 * is padded with zeros to whole words. Runs are rows or columns of a matrix.
 *
 * Codes must be below 2^b and arrays as long as their shapes say; `packing_checks.ts` makes sure of it where
 * they come from outside.
 */

/** Words of a packed run; of a row, where rows are packed. */
export const rowWords = (length: number, bits: number): number => Math.ceil((length * bits) / 32)

/** Codes [rows, columns] to words [rows, rowWords(columns)], a stream for each row. */
export function packRows(
  codes: Uint8Array | Uint16Array,
  rows: number,
  columns: number,
  bits: number,
): Uint32Array {
  const width = rowWords(columns, bits)
  const words = new Uint32Array(rows * width)
  if (words.length === 0) return words
  for (let row = 0; row < rows; row++) {
    let [word, filled, at] = [0, 0, row * width]
    for (let column = 0; column < columns; column++) {
      const code = codes[row * columns + column]!
      word |= code << filled
      filled += bits
      if (filled >= 32) {
        words[at++] = word >>> 0
        filled -= 32
        word = filled > 0 ? code >>> (bits - filled) : 0
      }
    }
    if (filled > 0) words[at] = word >>> 0
  }
  return words
}

/** The inverse of `packRows` for up to 8 bits; padding is not looked at. */
export const unpackRows = (
  words: Uint32Array | Int32Array,
  rows: number,
  columns: number,
  bits: number,
): Uint8Array => unpackRowsInto(new Uint8Array(rows * columns), words, rows, columns, bits)

/** As `unpackRows`, into an array that holds codes of `bits`. */
export function unpackRowsInto<Codes extends Uint8Array | Uint16Array>(
  codes: Codes,
  words: Uint32Array | Int32Array,
  rows: number,
  columns: number,
  bits: number,
): Codes {
  const width = rowWords(columns, bits)
  const mask = 2 ** bits - 1
  if (codes.length === 0) return codes
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const bit = column * bits
      const [at, shift] = [row * width + (bit >>> 5), bit & 31]
      const low = words[at]! >>> shift
      const high = shift + bits > 32 ? words[at + 1]! << (32 - shift) : 0
      codes[row * columns + column] = (low | high) & mask
    }
  }
  return codes
}

/** Codes [rows, columns] to words [rowWords(rows), columns], a stream for each column. */
export function packColumns(codes: Uint8Array, rows: number, columns: number, bits: number): Uint32Array {
  const words = new Uint32Array(rowWords(rows, bits) * columns)
  if (words.length === 0) return words
  for (let row = 0; row < rows; row++) {
    const bit = row * bits
    const [start, shift] = [(bit >>> 5) * columns, bit & 31]
    for (let column = 0; column < columns; column++) {
      const code = codes[row * columns + column]!
      words[start + column]! |= code << shift
      if (shift + bits > 32) words[start + columns + column]! |= code >>> (32 - shift)
    }
  }
  return words
}

/** The inverse of `packColumns`; padding is not looked at. */
export function unpackColumns(
  words: Uint32Array | Int32Array,
  rows: number,
  columns: number,
  bits: number,
): Uint8Array {
  const codes = new Uint8Array(rows * columns)
  const mask = 2 ** bits - 1
  if (codes.length === 0) return codes
  for (let row = 0; row < rows; row++) {
    const bit = row * bits
    const [start, shift] = [(bit >>> 5) * columns, bit & 31]
    for (let column = 0; column < columns; column++) {
      // Unsigned shifts: the words may be signed in the file, the fields are not.
      const low = words[start + column]! >>> shift
      const high = shift + bits > 32 ? words[start + columns + column]! << (32 - shift) : 0
      codes[row * columns + column] = (low | high) & mask
    }
  }
  return codes
}
