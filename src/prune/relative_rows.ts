/**
 * Compressed sparse rows with relative columns of c bits (Zhu and Gupta 2017, arXiv:1710.01878, section 5; Han et al.
 * 2016, arXiv:1510.00149, section 2): each entry says how many columns lie between it and the one before it in its row.
 * A gap above 2^c - 1 is bridged by entries whose value is zero.
 *
 *   bits = (z + fillers) (b + c) + (rows + 1) p     z values of b bits, row pointers of p bits
 */
import { OptionError, ShapeError } from '../tensor/errors.ts'
import type { Mask } from './mask.ts'

export interface RelativeRows {
  readonly rows: number
  readonly columns: number
  /** Entries before each row, and in all: [rows + 1]. */
  readonly pointers: Uint32Array
  /** Columns skipped before each entry. */
  readonly gaps: Uint32Array
  /** Zeros are fillers. */
  readonly values: Float64Array
}

export interface RelativeRowsOptions {
  /** Bits of a gap, 1 to 16. @default 4 */
  indexBits?: number
}

/** @throws OptionError for other bits, ShapeError where weights or mask are not of the matrix */
export function encodeRelativeRows(
  weights: ArrayLike<number>,
  mask: Mask,
  [rows, columns]: readonly [number, number],
  { indexBits = 4 }: RelativeRowsOptions = {},
): RelativeRows {
  if (!(Number.isInteger(indexBits) && indexBits >= 1 && indexBits <= 16))
    throw new OptionError(`relative rows: a gap needs 1 to 16 bits, got ${indexBits}`)
  if (weights.length !== rows * columns || mask.length !== rows * columns)
    throw new ShapeError(
      `relative rows: a ${rows} x ${columns} matrix needs ${rows * columns} weights and entries of a mask, got ${weights.length} and ${mask.length}`,
    )
  const longest = 2 ** indexBits - 1
  const pointers = new Uint32Array(rows + 1)
  const gaps: number[] = []
  const values: number[] = []
  for (let row = 0; row < rows; row++) {
    const start = row * columns
    let end = start + columns
    while (end > start && mask[end - 1] === 0) end--
    let gap = 0
    for (let at = start; at < end; at++)
      if (mask[at] === 0 && gap < longest) gap++
      else {
        gaps.push(gap)
        values.push(mask[at] === 1 ? weights[at]! : 0)
        gap = 0
      }
    pointers[row + 1] = gaps.length
  }
  return { rows, columns, pointers, gaps: Uint32Array.from(gaps), values: Float64Array.from(values) }
}

/** The matrix in row-major order, zeros where nothing is stored. */
export function decodeRelativeRows({ rows, columns, pointers, gaps, values }: RelativeRows): Float64Array {
  const weights = new Float64Array(rows * columns)
  for (let row = 0; row < rows; row++) {
    let column = -1
    for (let entry = pointers[row]!; entry < pointers[row + 1]!; entry++) {
      column += gaps[entry]! + 1
      if (column >= columns)
        throw new ShapeError(`relative rows: row ${row} reaches over its ${columns} columns`)
      weights[row * columns + column] = values[entry]!
    }
  }
  return weights
}

/** Bits of the stored matrix. @default pointers of 32 bits */
export const relativeRowsBits = (
  { rows, gaps }: RelativeRows,
  {
    valueBits,
    indexBits = 4,
    pointerBits = 32,
  }: { valueBits: number; indexBits?: number; pointerBits?: number },
): number => gaps.length * (valueBits + indexBits) + (rows + 1) * pointerBits
