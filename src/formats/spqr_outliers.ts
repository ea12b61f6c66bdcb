/**
 * The outliers and the order of columns of SpQR checkpoints.
 *
 *   col_vals int32 [entries]   column in the low 16 bits, f16 value in the high 16
 *   row_offsets int32          CSR: out+1, entries of a row in turn
 *                              PTCSR: out/16+1, entry j of tile row r belongs to row 16r + j mod 16
 *   in_perm int32 [in/2]       two 16-bit indices, low half first; empty where columns stand in their own order
 *
 * Outliers are added to the dense part, and their columns are permuted ones as there. PTCSR fills shorter rows with
 * words of 0, which add 0. Vahe1994/SpQR, inference_lib/src/spqr_quant (sparse_util.py, spqr_cuda.cpp).
 */
import { FormatError, OptionError } from '../tensor/errors.ts'
import { checkLength, checkSizes } from './packing_checks.ts'
import { spqrCode as code, spqrTile } from './spqr_packing.ts'

/** Outliers by rows: those of row r are `rowOffsets[r]` to `rowOffsets[r + 1] - 1`. */
export interface SpqrOutliers {
  /** [outputs + 1], from 0 to the number of outliers */
  rowOffsets: Uint32Array
  /** Permuted columns; each at most once in a row. */
  columns: Uint16Array
  /** f16 bits */
  values: Uint16Array
}
/** The two tensors as they are stored. */
export interface StoredOutliers {
  rowOffsets: Int32Array
  colVals: Int32Array
}

/**
 * Outliers of a matrix [outputs, inputs] from either layout, told apart by the number of offsets. Words of 0 are
 * left out of PTCSR.
 *
 * @throws FormatError if offsets fall, end elsewhere than the entries, or a row names a column twice or one past the last.
 */
export function readOutliers(
  { rowOffsets, colVals }: StoredOutliers,
  outputs: number,
  inputs: number,
): SpqrOutliers {
  checkSizes({ outputs, inputs }, code)
  const step = rowOffsets.length === outputs + 1 ? 1 : spqrTile
  checkLength('row offsets', rowOffsets, outputs / step + 1, code)
  for (let r = 0; r < rowOffsets.length; r++)
    if (rowOffsets[r]! < (r === 0 ? 0 : rowOffsets[r - 1]!) || rowOffsets[r]! % step !== 0)
      throw damaged(`row offset ${r} cannot be ${rowOffsets[r]}`, { at: r })
  if (rowOffsets[0] !== 0 || rowOffsets.at(-1) !== colVals.length)
    throw damaged(
      `row offsets must go from 0 to ${colVals.length}, found ${rowOffsets[0]} to ${rowOffsets.at(-1)}`,
      {
        entries: colVals.length,
      },
    )
  const kept = step === 1 ? colVals.length : colVals.reduce((sum, word) => sum + (word ? 1 : 0), 0)
  const read: SpqrOutliers = {
    rowOffsets: new Uint32Array(outputs + 1),
    columns: new Uint16Array(kept),
    values: new Uint16Array(kept),
  }
  // The row that named a column last, counted from 1.
  const namedBy = new Uint32Array(2 ** 16)
  let at = 0
  for (let row = 0; row < outputs; row++) {
    const r = Math.floor(row / step)
    for (let j = rowOffsets[r]! + (row % step); j < rowOffsets[r + 1]!; j += step) {
      const word = colVals[j]!
      if (step > 1 && word === 0) continue
      const column = word & 0xffff
      if (column >= inputs) throw damaged(`row ${row} names column ${column} of ${inputs}`, { row, column })
      if (namedBy[column] === row + 1)
        throw damaged(`row ${row} names column ${column} twice`, { row, column })
      namedBy[column] = row + 1
      read.columns[at] = column
      read.values[at++] = word >>> 16
    }
    read.rowOffsets[row + 1] = at
  }
  return read
}

/** @throws OptionError if outliers stand past column 32767, whose bits readers take for a sign */
export function writeCsr({ rowOffsets, columns, values }: SpqrOutliers): StoredOutliers {
  return { rowOffsets: Int32Array.from(rowOffsets), colVals: wordsOf(columns, values) }
}

/** Rows of a tile in turn, padded to the longest of its 16. @throws OptionError as `writeCsr`, or if 16 does not divide the rows */
export function writePtcsr({ rowOffsets, columns, values }: SpqrOutliers): StoredOutliers {
  const outputs = rowOffsets.length - 1
  if (outputs % spqrTile !== 0)
    throw new OptionError(`PTCSR needs rows divisible by 16, got ${outputs}; use CSR`, {
      code,
      facts: { outputs },
    })
  const words = wordsOf(columns, values)
  const lengthOf = (row: number) => rowOffsets[row + 1]! - rowOffsets[row]!
  const offsets = new Int32Array(outputs / spqrTile + 1)
  for (let r = 0; r + 1 < offsets.length; r++) {
    const lengths = Array.from({ length: spqrTile }, (_, k) => lengthOf(spqrTile * r + k))
    offsets[r + 1] = offsets[r]! + spqrTile * Math.max(...lengths)
  }
  const colVals = new Int32Array(offsets.at(-1)!)
  for (let row = 0; row < outputs; row++)
    for (let j = 0; j < lengthOf(row); j++)
      colVals[offsets[Math.floor(row / spqrTile)]! + j * spqrTile + (row % spqrTile)] =
        words[rowOffsets[row]! + j]!
  return { rowOffsets: offsets, colVals }
}

/** in_perm of an order of columns: column c meets the input `order[c]`. @throws OptionError if it is no permutation of 2 to 65536 inputs */
export function packOrder(order: Uint16Array): Int32Array {
  if (order.length % 2 !== 0 || !isPermutation(order))
    throw new OptionError(
      `in_perm needs each of an even number of inputs once, got ${order.length} that are not so`,
      {
        code,
        facts: { inputs: order.length },
      },
    )
  return Int32Array.from({ length: order.length / 2 }, (_, i) => order[2 * i]! | (order[2 * i + 1]! << 16))
}

/** The order of columns, or undefined where in_perm is empty. @throws FormatError if it is no permutation of the inputs */
export function unpackOrder(inPerm: Int32Array, inputs: number): Uint16Array | undefined {
  if (inPerm.length === 0) return undefined
  checkLength('words of in_perm', inPerm, inputs / 2, code)
  const order = Uint16Array.from({ length: inputs }, (_, i) => inPerm[i >> 1]! >>> (i & 1 ? 16 : 0))
  if (isPermutation(order)) return order
  throw damaged(`in_perm does not name each of ${inputs} inputs once`, { inputs })
}

function isPermutation(order: Uint16Array): boolean {
  const named = new Uint8Array(order.length)
  for (const input of order) named[input] = 1
  return named.every((mark) => mark === 1)
}

function wordsOf(columns: Uint16Array, values: Uint16Array): Int32Array {
  const past = columns.find((column) => column >= 2 ** 15)
  if (past !== undefined)
    throw new OptionError(`SpQR holds outliers up to column 32767, got ${past}; leave this layer out`, {
      code,
      facts: { column: past },
    })
  return Int32Array.from(columns, (column, i) => column | (values[i]! << 16))
}

function damaged(what: string, facts: Record<string, number>): FormatError {
  return new FormatError(`${what}; the layer is damaged`, { code, facts })
}
