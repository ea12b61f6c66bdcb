import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FormatError, OptionError } from '../tensor/errors.ts'
import {
  largestTwo,
  packMarks,
  read24Bitmask,
  readBitmask,
  unpackMarks,
  write24Bitmask,
  writeBitmask,
} from './sparse_bitmask.ts'

const nonzero = (dense: Float32Array) => Uint8Array.from(dense, (w) => (w === 0 ? 0 : 1))
const refused = expect.objectContaining({ code: 'PARE_E_COMPRESSED_TENSORS' })

/** Weights of which many are 0, [outputs, inputs]. */
const sparse = fc
  .tuple(
    fc.integer({ min: 1, max: 5 }),
    fc.integer({ min: 1, max: 40 }),
    fc.infiniteStream(fc.constantFrom(0, 0, 0, 1, -0.5, 3)),
  )
  .map(([outputs, inputs, stream]) => {
    const dense = Float32Array.from({ length: outputs * inputs }, () => stream.next().value as number)
    return { outputs, inputs, dense }
  })

test('column c is bit c mod 8, from the lowest, of byte c/8 of its row', () => {
  const marks = new Uint8Array(20)
  for (const i of [0, 3, 9, 10, 19]) marks[i] = 1
  expect([...packMarks(marks, 2, 10)]).toEqual([0b00001001, 0b10, 0b00000001, 0b10])
})
test('marks come back, whatever the width', () => {
  fc.assert(
    fc.property(sparse, ({ outputs, inputs, dense }) => {
      const bitmask = packMarks(nonzero(dense), outputs, inputs)
      expect(bitmask).toHaveLength(outputs * Math.ceil(inputs / 8))
      for (const [i, w] of dense.entries()) {
        const [row, column] = [Math.floor(i / inputs), i % inputs]
        const bit = bitmask[row * Math.ceil(inputs / 8) + Math.floor(column / 8)]! & (2 ** (column % 8))
        expect(bit !== 0).toBe(w !== 0)
      }
      expect(unpackMarks(bitmask, outputs, inputs)).toEqual(nonzero(dense))
    }),
    { numRuns: 50 },
  )
})
test('a matrix by hand in sparse-24-bitmask, with a kept 0', () => {
  const dense = Float32Array.of(1, 0, -2, 0, 0, 0, 0, 5)
  const marks = Uint8Array.of(1, 0, 1, 0, 1, 0, 0, 1)
  const { values, bitmask } = write24Bitmask(dense, marks, 1, 8)
  expect([[...values], [...bitmask]]).toEqual([[1, -2, 0, 5], [0b10010101]])
  expect(read24Bitmask(values, bitmask, 1, 8)).toEqual(dense)
  expect(read24Bitmask(values.toReversed(), bitmask, 1, 8)).not.toEqual(dense)
})
test('a matrix by hand in sparse-bitmask', () => {
  const dense = Float32Array.of(0, 7, 0, 0, 0, 0, 1, 0, 2)
  const { values, bitmask, rowOffsets } = writeBitmask(dense, nonzero(dense), 3, 3)
  expect([...values, ...bitmask]).toEqual([7, 1, 2, 0b010, 0, 0b101])
  expect([...rowOffsets]).toEqual([0n, 1n, 1n])
  expect(readBitmask(values, bitmask, rowOffsets, 3, 3)).toEqual(dense)
})
test('any sparse weights come back from sparse-bitmask, as numbers or as 16 bits', () => {
  fc.assert(
    fc.property(sparse, ({ outputs, inputs, dense }) => {
      for (const weights of [dense, Uint16Array.from(dense, (w) => 0xffff & (w * 100))]) {
        const { values, bitmask, rowOffsets } = writeBitmask(weights, nonzero(dense), outputs, inputs)
        expect(values).toHaveLength(dense.filter((w) => w !== 0).length)
        expect(readBitmask(values, bitmask, rowOffsets, outputs, inputs)).toEqual(weights)
      }
    }),
    { numRuns: 50 },
  )
})
test('2:4 weights come back from 8 bits of values and 1 of marks a weight, at 16 bits a value', () => {
  fc.assert(
    fc.property(sparse, ({ outputs, inputs, dense }) => {
      const columns = 4 * inputs
      const wide = new Uint16Array(outputs * columns).map((_, i) => 1 + i)
      const marks = largestTwo(Float32Array.from(wide, (_, i) => dense[i % dense.length]!))
      const pruned = wide.map((w, i) => w * marks[i]!)
      const { values, bitmask } = write24Bitmask(pruned, marks, outputs, columns)
      expect(values).toHaveLength((outputs * columns) / 2)
      expect(bitmask).toHaveLength(outputs * Math.ceil(columns / 8))
      expect(read24Bitmask(values, bitmask, outputs, columns)).toEqual(pruned)
    }),
    { numRuns: 50 },
  )
})
test('the two largest magnitudes of every four are marked, of equal ones the earlier', () => {
  expect([...largestTwo(Float32Array.of(1, -3, 2, 0, 0, 0, 0, 0, 1, 1, -1, 1, 0, 0, 0, -4))]).toEqual([
    0, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0, 1,
  ])
})
test('an empty matrix has no values and no bytes', () => {
  const none = new Uint16Array(0)
  expect(read24Bitmask(none, new Uint8Array(0), 0, 8)).toHaveLength(0)
  expect(readBitmask(none, new Uint8Array(0), new BigInt64Array(2), 2, 0)).toHaveLength(0)
})
test('a file with wrong marks, counts, offsets or lengths is refused', () => {
  const [two, three] = [Uint16Array.of(1, 2), Uint16Array.of(1, 2, 3)]
  const mask = (...bytes: number[]) => Uint8Array.from(bytes)
  const offsets = BigInt64Array.of(0n, 1n)
  expect(read24Bitmask(two, mask(0b0101), 1, 4)).toHaveLength(4)
  expect(readBitmask(two, mask(0b1, 0b1), offsets, 2, 4)).toHaveLength(8)
  for (const wrong of [
    () => read24Bitmask(two, mask(0b0111), 1, 4),
    () => read24Bitmask(two, mask(0b0001), 1, 4),
    () => read24Bitmask(Uint16Array.of(1, 2, 3, 4), mask(0b00011110), 1, 8),
    () => read24Bitmask(two, mask(0b10101), 1, 4),
    () => read24Bitmask(three, mask(0b0101), 1, 4),
    () => read24Bitmask(two, mask(0b0101, 0), 1, 4),
    () => read24Bitmask(three, mask(0b101011), 1, 6),
    () => readBitmask(three, mask(0b1, 0b1), offsets, 2, 4),
    () => readBitmask(two, mask(0b11, 0), offsets, 2, 4),
    () => readBitmask(two, mask(0b1, 0b1), BigInt64Array.of(0n, -1n), 2, 4),
    () => readBitmask(two, mask(0b1, 0b1), BigInt64Array.of(0n, 1n, 2n), 2, 4),
    () => readBitmask(two, mask(0b1, 0b10001), offsets, 2, 4),
    () => readBitmask(two, mask(0b11), offsets, -1, -4),
  ]) {
    expect(wrong).toThrow(FormatError)
    expect(wrong).toThrow(refused)
  }
})
test('weights and marks that do not fit what is to be written are refused', () => {
  for (const wrong of [
    () => write24Bitmask(new Float32Array(4), Uint8Array.of(1, 1, 1, 0), 1, 4),
    () => write24Bitmask(new Float32Array(6), Uint8Array.of(1, 1, 0, 0, 1, 1), 1, 6),
    () => write24Bitmask(new Float32Array(5), Uint8Array.of(1, 1, 0, 0), 1, 4),
    () => writeBitmask(new Float32Array(4), new Uint8Array(5), 1, 4),
  ]) {
    expect(wrong).toThrow(OptionError)
    expect(wrong).toThrow(refused)
  }
})
