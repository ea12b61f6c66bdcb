/**
 * Sparse weights of compressed-tensors checkpoints before 0.15: kept values in row order, and a bit for each place.
 *
 *   sparse-24-bitmask   compressed [out, in/2]   bitmask u8 [out, ceil(in/8)]
 *   sparse-bitmask      compressed [kept]        bitmask u8 [out, ceil(in/8)]   row_offsets i64 [out]
 *
 * Bit c mod 8, from the lowest, of byte c/8 marks column c. In the first, every aligned four columns have two
 * marks, even where a kept value is 0; in the second, row_offsets says where the values of a row begin.
 * Values are moved and not read, so that 16-bit floats may come as their bits.
 * vllm-project/compressed-tensors 0.10, compressors/sparse_compressors.
 */
import { FormatError, OptionError } from '../tensor/errors.ts'
import { checkLength, checkSizes } from './packing_checks.ts'

const code = 'PARE_E_COMPRESSED_TENSORS'

/** Values, or their bits; what is all bits 0 is a zero. */
export type SparseValues = Uint8Array | Int8Array | Uint16Array | Float32Array | Float64Array

const newLike = <T extends SparseValues>(like: T, length: number): T =>
  new (like.constructor as new (length: number) => T)(length)

/** Marks [outputs, inputs], 0 or 1, to a bitmask [outputs, ceil(inputs/8)]. @throws OptionError if there are more or fewer */
export function packMarks(marks: Uint8Array, outputs: number, inputs: number): Uint8Array {
  checkCount('marks', marks, outputs, inputs)
  const width = Math.ceil(inputs / 8)
  const bitmask = new Uint8Array(outputs * width)
  for (let i = 0; i < marks.length; i++) {
    const column = i % inputs
    if (marks[i]) bitmask[Math.floor(i / inputs) * width + (column >> 3)]! |= 1 << (column & 7)
  }
  return bitmask
}

/**
 * A bitmask [outputs, ceil(inputs/8)] to marks [outputs, inputs], 0 or 1.
 *
 * @throws FormatError if sizes disagree or a bit past the last column is set.
 */
export function unpackMarks(bitmask: Uint8Array, outputs: number, inputs: number): Uint8Array {
  checkSizes({ outputs, inputs }, code)
  const width = Math.ceil(inputs / 8)
  checkLength('bytes of the bitmask', bitmask, outputs * width, code)
  const marks = new Uint8Array(outputs * inputs)
  for (let i = 0; i < marks.length; i++) {
    const column = i % inputs
    marks[i] = (bitmask[Math.floor(i / inputs) * width + (column >> 3)]! >> (column & 7)) & 1
  }
  const rest = inputs % 8
  for (let last = width - 1; rest > 0 && last < bitmask.length; last += width)
    if (bitmask[last]! >> rest)
      throw damaged(`row ${Math.floor(last / width)} marks columns past the last of ${inputs}`, { inputs })
  return marks
}

/**
 * The dense weights [outputs, inputs] of sparse-24-bitmask.
 *
 * @throws FormatError if sizes disagree or four columns have not two marks.
 */
export function read24Bitmask<T extends SparseValues>(
  values: T,
  bitmask: Uint8Array,
  outputs: number,
  inputs: number,
): T {
  const marks = unpackMarks(bitmask, outputs, inputs)
  if (inputs % 4 !== 0) throw damaged(`2:4 needs inputs divisible by 4, found ${inputs}`, { inputs })
  checkLength('kept values', values, marks.length / 2, code)
  const group = wrongGroup(marks)
  if (group >= 0)
    throw damaged(
      `2:4 needs 2 marks in every 4 columns, found others from column ${group % inputs} of row ${Math.floor(group / inputs)}`,
      { row: Math.floor(group / inputs), column: group % inputs },
    )
  return spread(values, marks)
}

/**
 * The dense weights [outputs, inputs] of sparse-bitmask.
 *
 * @throws FormatError if sizes disagree, or offsets are not the numbers of marks before their rows.
 */
export function readBitmask<T extends SparseValues>(
  values: T,
  bitmask: Uint8Array,
  rowOffsets: BigInt64Array,
  outputs: number,
  inputs: number,
): T {
  const marks = unpackMarks(bitmask, outputs, inputs)
  checkLength('row offsets', rowOffsets, outputs, code)
  const counted = offsetsOf(marks, outputs, inputs)
  const wrong = counted.findIndex((offset, row) => offset !== rowOffsets[row])
  if (wrong >= 0)
    throw damaged(
      `row ${wrong} begins at value ${counted[wrong]} by its marks, found the offset ${rowOffsets[wrong]}`,
      {
        row: wrong,
      },
    )
  checkLength('kept values', values, countOf(marks), code)
  return spread(values, marks)
}

/** What sparse-24-bitmask stores of dense weights. @throws OptionError if four columns have not two marks */
export function write24Bitmask<T extends SparseValues>(
  dense: T,
  marks: Uint8Array,
  outputs: number,
  inputs: number,
) {
  checkCount('weights', dense, outputs, inputs)
  const bitmask = packMarks(marks, outputs, inputs)
  const group = inputs % 4 === 0 ? wrongGroup(marks) : 0
  if (group >= 0)
    throw new OptionError(
      `sparse-24-bitmask needs 2 marks in every 4 columns, got others in row ${Math.floor(group / inputs)} of ${inputs} columns; prune to 2:4 first`,
      { code, facts: { row: Math.floor(group / inputs), inputs } },
    )
  return { values: keptOf(dense, marks), bitmask }
}

/** What sparse-bitmask stores of dense weights. @throws OptionError if there are more or fewer than the shape says */
export function writeBitmask<T extends SparseValues>(
  dense: T,
  marks: Uint8Array,
  outputs: number,
  inputs: number,
) {
  checkCount('weights', dense, outputs, inputs)
  const bitmask = packMarks(marks, outputs, inputs)
  return { values: keptOf(dense, marks), bitmask, rowOffsets: offsetsOf(marks, outputs, inputs) }
}

/** Marks of the two largest magnitudes of every four; of equal ones the earlier. [outputs, inputs], 4 divides inputs. */
export function largestTwo(weights: Float32Array): Uint8Array {
  const marks = new Uint8Array(weights.length)
  for (let start = 0; start < marks.length; start += 4) {
    const size = (i: number) => Math.abs(weights[start + i]!)
    const ranked = [0, 1, 2, 3].sort((a, b) => size(b) - size(a) || a - b)
    for (const i of ranked.slice(0, 2)) marks[start + i] = 1
  }
  return marks
}

/** Where four marks begin that do not sum to two, or -1. */
function wrongGroup(marks: Uint8Array): number {
  for (let i = 0; i < marks.length; i += 4) {
    let kept = 0
    for (let j = i; j < i + 4; j++) if (marks[j]) kept++
    if (kept !== 2) return i
  }
  return -1
}

/** Numbers of marks before each row. */
function offsetsOf(marks: Uint8Array, outputs: number, inputs: number): BigInt64Array {
  const offsets = new BigInt64Array(outputs)
  for (let row = 1, kept = 0; row < outputs; row++) {
    for (let i = (row - 1) * inputs; i < row * inputs; i++) if (marks[i]) kept++
    offsets[row] = BigInt(kept)
  }
  return offsets
}

function spread<T extends SparseValues>(values: T, marks: Uint8Array): T {
  const dense = newLike(values, marks.length)
  for (let i = 0, at = 0; i < marks.length; i++) if (marks[i]) dense[i] = values[at++]!
  return dense
}

function keptOf<T extends SparseValues>(dense: T, marks: Uint8Array): T {
  const values = newLike(dense, countOf(marks))
  for (let i = 0, at = 0; i < marks.length; i++) if (marks[i]) values[at++] = dense[i]!
  return values
}

function countOf(marks: Uint8Array): number {
  let kept = 0
  for (const mark of marks) if (mark) kept++
  return kept
}

function checkCount(what: string, array: SparseValues, outputs: number, inputs: number): void {
  checkSizes({ outputs, inputs }, code)
  if (array.length !== outputs * inputs)
    throw new OptionError(`${outputs * inputs} ${what} are needed, got ${array.length}; the shape is wrong`, {
      code,
      facts: { needed: outputs * inputs, found: array.length },
    })
}

function damaged(what: string, facts: Record<string, number>): FormatError {
  return new FormatError(`${what}; the layer is damaged`, { code, facts })
}
