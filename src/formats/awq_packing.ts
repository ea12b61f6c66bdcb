/**
 * The integers of AWQ checkpoints, version "gemm", 4 bits: codes and zeros packed along the output axis, out of order.
 *
 *   qweight int32 [in, out/8]   qzeros int32 [in/g, out/8]   scales [in/g, out]
 *   W[o,i] = scales[i/g,o] * (q[i,o] - z[i/g,o])
 *
 * The nibbles of a word, lowest first, hold the columns 0, 2, 4, 6, 1, 3, 5, 7 of its eight. Zeros are stored as
 * they are, not less one as in GPTQ. casper-hansen/AutoAWQ, awq/modules/linear/gemm.py.
 */
import { OptionError } from '../tensor/errors.ts'
import { checkCodes, checkLength, checkSizes } from './packing_checks.ts'

const code = 'PARE_E_AWQ'
const perWord = 8
/** Column of its eight that nibble i of a word holds. */
const order = [0, 2, 4, 6, 1, 3, 5, 7]

/**
 * Codes [rows, columns] from 0 to 15 to words [rows, columns/8]; rows are inputs (qweight) or groups (qzeros),
 * columns are outputs.
 *
 * @throws OptionError if 8 does not divide the columns or a code does not fit.
 * @example packAwq(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7), 1, 8) // [0x75316420]
 */
export function packAwq(codes: Uint8Array, rows: number, columns: number): Int32Array {
  checkWidth(rows, columns)
  checkCodes(codes, rows * columns, 4, code)
  const words = new Int32Array(codes.length / perWord)
  for (let w = 0; w < words.length; w++)
    for (let nibble = 0; nibble < perWord; nibble++)
      words[w]! |= codes[w * perWord + order[nibble]!]! << (4 * nibble)
  return words
}

/**
 * Words [rows, columns/8] to codes [rows, columns].
 *
 * @throws FormatError if there are more or fewer words, OptionError if 8 does not divide the columns.
 */
export function unpackAwq(words: Int32Array | Uint32Array, rows: number, columns: number): Uint8Array {
  checkWidth(rows, columns)
  checkLength('packed words', words, rows * (columns / perWord), code)
  const codes = new Uint8Array(rows * columns)
  for (let w = 0; w < words.length; w++)
    for (let nibble = 0; nibble < perWord; nibble++)
      codes[w * perWord + order[nibble]!] = (words[w]! >>> (4 * nibble)) & 15
  return codes
}

/** A word has no place for fewer than eight columns. */
function checkWidth(rows: number, columns: number): void {
  checkSizes({ rows, columns }, code)
  if (columns % perWord !== 0)
    throw new OptionError(
      `AWQ packs ${perWord} outputs a word, got ${columns} outputs; leave this layer out, or take GPTQ or a Pare folder`,
      { code, facts: { columns } },
    )
}
