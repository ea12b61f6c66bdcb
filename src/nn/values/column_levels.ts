/**
 * A number of levels for each column and a range for each row, so that columns take any share of a bit. Codes stand
 * column after column in 64-bit words: as many of a column of N levels as fit, code r of a word times N^r.
 *
 *   value = s * (code - z),  s = (high - low) / (N - 1),  z = round(-low / s)      each step in f32
 *
 * A column of one level is 0 and stores nothing. Columns of two levels may be centred: (low + high) / 2 plus or minus
 * (high - low) / 8, which is near the best for normal weights, whose range is some 6 deviations.
 */
import { scope, Tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'

export interface ColumnLevelValues {
  kind: 'column_levels'
  shape: readonly [number, number]
  /** u16 [columns], from 1 on */
  levels: Tensor
  /** f32 [rows], exactly representable in f16: at most 0, and at least 0. */
  lows: Tensor
  highs: Tensor
  /** u64 [words] */
  words: Tensor
  /** Columns of two levels have them around the middle of the range. */
  centred: boolean
}

/** f32 [rows, columns] @throws FormatError where words and levels do not agree */
export function decodeColumnLevels({
  shape,
  levels,
  lows,
  highs,
  words,
  centred,
}: ColumnLevelValues): Tensor {
  const handle = callNative((native) =>
    native.decodeLevels(words.handle, levels.handle, lows.handle, highs.handle, centred),
  )
  return new Tensor(words.kernels, handle, 'f32', shape)
}

/** Words, levels, and a range a row. */
export function bitsOfColumnLevels({ levels, lows, words }: ColumnLevelValues): number {
  return words.size * 64 + levels.size * 16 + 2 * lows.size * 16
}

/** Codes that a word holds of a column with so many levels, 1 to 64. @example codesInWord(3) // 40 */
export function codesInWord(levels: number): number {
  if (levels <= 1) return Number.POSITIVE_INFINITY
  let count = 0
  for (let product = BigInt(levels); product <= 1n << 64n; product *= BigInt(levels)) count++
  return count
}

/** Words of codes u16 [columns, rows], each below the levels of its column. */
export function packLevels(codes: Tensor, levels: Tensor): Tensor {
  const handle = callNative((native) => native.packLevels(codes.handle, levels.handle))
  const [, rows] = codes.shape as [number, number]
  return new Tensor(codes.kernels, handle, 'u64', [wordsNeeded(levels, rows)])
}

/** Words of all columns. */
export function wordsNeeded(levels: Tensor, rows: number): number {
  let words = 0
  for (const count of levels.toArray() as Uint16Array) words += Math.ceil(rows / codesInWord(count))
  return words
}

/** Codes u16 [rows, columns] @throws FormatError where words and levels do not agree */
export function unpackLevels(words: Tensor, levels: Tensor, rows: number): Tensor {
  const handle = callNative((native) => native.unpackLevels(words.handle, levels.handle, rows))
  return new Tensor(words.kernels, handle, 'u16', [rows, levels.size])
}

/** The words of some of `rows` rows. */
export function wordsOfRows(
  words: Tensor,
  levels: Tensor,
  rows: number,
  [start, end]: readonly [number, number],
): Tensor {
  if (start === 0 && end === rows) return words
  return scope(() => {
    const codes = unpackLevels(words, levels, rows).slice(0, start, end)
    return packLevels(codes.transpose().contiguous(), levels)
  })
}
