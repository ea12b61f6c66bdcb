/** The description of compressed weights in a Pare folder (pare.json), and its packing of codes. */
import { FormatError, printable } from '../tensor/errors.ts'

/** Later versions of Pare read it. */
export const pareFolderVersion = 1

/** How one weight is put together. */
export type PareWeight =
  | {
      kind: 'grid'
      shape: [number, number]
      bits: 2 | 3 | 4 | 8
      groupSize: number | 'row'
      symmetric: boolean
      scaleType: 'f16' | 'f32'
    }
  | { kind: 'blocks'; shape: [number, number]; type: string }

/** Words of a packed row. */
export const rowWords = (columns: number, bits: number): number => Math.ceil((columns * bits) / 32)

/** Codes [rows, columns] as one little-endian bit stream a row, padded to whole words. */
export function packRows(codes: Uint8Array, rows: number, columns: number, bits: number): Uint32Array {
  const width = rowWords(columns, bits)
  const words = new Uint32Array(rows * width)
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

/** The inverse of `packRows`. */
export function unpackRows(words: Uint32Array, rows: number, columns: number, bits: number): Uint8Array {
  const width = rowWords(columns, bits)
  const codes = new Uint8Array(rows * columns)
  const mask = 2 ** bits - 1
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

/** Checks what pare.json says. @throws FormatError for a newer version or a field that is not understood. */
export function readPareJson(value: unknown): Map<string, PareWeight> {
  const wrong = (what: string) => new FormatError(`pare.json: ${what}`, { code: 'PARE_E_PARE_FOLDER' })
  const { format, version, weights } = (value ?? {}) as Record<string, unknown>
  if (format === 'pare' && Number.isSafeInteger(version) && (version as number) > pareFolderVersion) {
    throw new FormatError(
      `pare.json: has version ${version} of Pare folders, and this Pare reads up to ${pareFolderVersion}; use a newer Pare`,
      { code: 'PARE_E_NEWER_FILE', facts: { version: version as number } },
    )
  }
  if (format !== 'pare' || version !== pareFolderVersion) {
    throw wrong(
      `needs format pare, version ${pareFolderVersion}, got ${printable(String(format))}, ${printable(String(version))}; the folder is damaged`,
    )
  }
  if (typeof weights !== 'object' || weights === null) throw wrong('has no weights')
  const result = new Map<string, PareWeight>()
  for (const [name, weight] of Object.entries(weights as Record<string, PareWeight>)) {
    const sizes =
      Array.isArray(weight?.shape) &&
      weight.shape.length === 2 &&
      weight.shape.every((n) => Number.isSafeInteger(n) && n > 0)
    const fits =
      weight?.kind === 'blocks'
        ? typeof weight.type === 'string'
        : weight?.kind === 'grid' &&
          [2, 3, 4, 8].includes(weight.bits) &&
          (weight.groupSize === 'row' || (Number.isSafeInteger(weight.groupSize) && weight.groupSize > 0)) &&
          typeof weight.symmetric === 'boolean' &&
          (weight.scaleType === 'f16' || weight.scaleType === 'f32')
    if (!sizes || !fits)
      throw wrong(`does not say how ${printable(name)} is put together; the folder is damaged`)
    result.set(name, weight)
  }
  return result
}
