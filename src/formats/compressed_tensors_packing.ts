/**
 * The integers of compressed-tensors checkpoints, format "pack-quantized", 1 to 8 bits.
 *
 *   weight_packed int32 [out, words(in)]   weight_scale [out, groups]
 *   weight_zero_point int32 [words(out), groups], where asymmetric: packed along the output axis
 *   W[o,i] = (q[o,i] - zp[o,i/g]) * scale[o,i/g]
 *
 * Codes q and zero points are signed, from -2^(b-1) to 2^(b-1) - 1, and stored as u = q + 2^(b-1). Up to version
 * 0.17 each word holds floor(32/b) of them ("words"), from 0.18 they are one stream over words ("stream"). Both
 * are the same for 1, 2, 4 and 8 bits. vllm-project/compressed-tensors, compressors/pack_quantized/helpers.py.
 */
import { FormatError, OptionError, printable } from '../tensor/errors.ts'
import { packColumns, packRows, rowWords, unpackColumns, unpackRows } from './bit_stream.ts'
import { checkCodes, checkLength, checkSizes } from './packing_checks.ts'

const code = 'PARE_E_COMPRESSED_TENSORS'

/** `words`: floor(32/bits) codes a word; `stream`: bit after bit. */
export type WordPacking = 'words' | 'stream'

/** Words of a run of `length` codes. */
export function packedLength(length: number, bits: number, packing: WordPacking): number {
  return packing === 'stream' ? rowWords(length, bits) : Math.ceil(length / Math.floor(32 / bits))
}

/**
 * The packing of a run of `length` codes that takes `width` words: `either` where both take as many but place codes
 * differently; another run of the layer or `packingOfVersion` decides then. That is never so above 150 codes (of 3
 * bits; 90 of 5, 75 of 6, 28 of 7). Runs that are the same in both packings count as `stream`.
 *
 * @throws FormatError if the width belongs to neither.
 */
export function packingOf(length: number, bits: number, width: number): WordPacking | 'either' {
  checkBits(bits)
  const stream = packedLength(length, bits, 'stream')
  const words = packedLength(length, bits, 'words')
  if (width === stream) return width !== words || 32 % bits === 0 || words <= 1 ? 'stream' : 'either'
  if (width === words) return 'words'
  throw new FormatError(
    `${length} codes of ${bits} bits need ${stream} words, or ${words} before compressed-tensors 0.18, found ${width}; the layer is damaged`,
    { code, facts: { length, bits, stream, words, found: width } },
  )
}

/**
 * What the library wrote that names itself in `quantization_config.version`.
 *
 * @throws FormatError if it begins with no version number.
 * @example packingOfVersion('0.10.2') // 'words'
 */
export function packingOfVersion(version: string): WordPacking {
  const [, major, minor] = /^(\d{1,6})\.(\d{1,6})/.exec(version) ?? []
  if (major === undefined)
    throw new FormatError(
      `the version of compressed-tensors must be as 0.18.0, found ${printable(version)}; the config is damaged`,
      { code, facts: { version: printable(version) } },
    )
  return Number(major) > 0 || Number(minor) >= 18 ? 'stream' : 'words'
}

/** How a matrix of stored codes is packed. */
export interface PackedMatrix {
  rows: number
  columns: number
  bits: number
  packing: WordPacking
  /** Of the runs: 1 packs rows (weight_packed, [out, words(in)]), 0 columns (weight_zero_point, [words(out), groups]). */
  axis: 0 | 1
}

/** Stored codes [rows, columns], from 0 to 2^bits - 1, to words. @throws OptionError if a code does not fit */
export function packCodes(codes: Uint8Array, matrix: PackedMatrix): Int32Array {
  const { rows, columns, bits, packing, axis } = matrix
  const length = wordsOf(matrix)
  checkCodes(codes, rows * columns, bits, code)
  if (packing === 'stream')
    return new Int32Array((axis ? packRows : packColumns)(codes, rows, columns, bits).buffer)
  const words = new Int32Array(length)
  const place = placeOf(matrix)
  for (let i = 0; i < codes.length; i++) {
    const [word, shift] = place(Math.floor(i / columns), i % columns)
    words[word]! |= codes[i]! << shift
  }
  return words
}

/** Words to stored codes [rows, columns]. @throws FormatError if there are more or fewer words */
export function unpackCodes(words: Int32Array | Uint32Array, matrix: PackedMatrix): Uint8Array {
  const { rows, columns, bits, packing, axis } = matrix
  checkLength('packed words', words, wordsOf(matrix), code)
  if (packing === 'stream') return (axis ? unpackRows : unpackColumns)(words, rows, columns, bits)
  const codes = new Uint8Array(rows * columns)
  const place = placeOf(matrix)
  for (let i = 0; i < codes.length; i++) {
    const [word, shift] = place(Math.floor(i / columns), i % columns)
    codes[i] = (words[word]! >>> shift) & (2 ** bits - 1)
  }
  return codes
}

/** u = q + 2^(bits-1) of signed codes, as int8 tensors hold them. @throws FormatError if one lies outside its bits */
export function storedCodes(signed: Int8Array, bits: number): Uint8Array {
  checkBits(bits)
  const half = 2 ** (bits - 1)
  const wrong = signed.find((q) => q < -half || q >= half)
  if (wrong !== undefined)
    throw new FormatError(
      `a signed code of ${bits} bits lies from ${-half} to ${half - 1}, found ${wrong}; the layer is damaged`,
      { code, facts: { bits, found: wrong } },
    )
  return Uint8Array.from(signed, (q) => q + half)
}

/** q = u - 2^(bits-1) of stored codes. */
export function signedCodes(stored: Uint8Array, bits: number): Int8Array {
  checkBits(bits)
  return Int8Array.from(stored, (u) => u - 2 ** (bits - 1))
}

function wordsOf({ rows, columns, bits, packing, axis }: PackedMatrix): number {
  checkSizes({ rows, columns }, code)
  checkBits(bits)
  return axis ? rows * packedLength(columns, bits, packing) : packedLength(rows, bits, packing) * columns
}

/** The word and the shift of a code, where words hold whole codes. */
function placeOf({ columns, bits, packing, axis }: PackedMatrix) {
  const perWord = Math.floor(32 / bits)
  const width = packedLength(columns, bits, packing)
  return (row: number, column: number): [word: number, shift: number] =>
    axis
      ? [row * width + Math.floor(column / perWord), (column % perWord) * bits]
      : [Math.floor(row / perWord) * columns + column, (row % perWord) * bits]
}

function checkBits(bits: number): void {
  if (!Number.isInteger(bits) || bits < 1 || bits > 8)
    throw new OptionError(`compressed-tensors packs 1 to 8 bits, got ${bits}; choose one of them`, {
      code,
      facts: { bits },
    })
}
