import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FormatError, OptionError } from '../tensor/errors.ts'
import { packAwq, unpackAwq } from './awq_packing.ts'

const hex = (words: Int32Array) => [...words].map((word) => (word >>> 0).toString(16))
const matrices = fc
  .tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 6 }), fc.infiniteStream(fc.nat(15)))
  .map(([rows, words, stream]) => {
    const codes = Uint8Array.from({ length: rows * words * 8 }, () => stream.next().value as number)
    return { rows, columns: words * 8, codes }
  })

test('the columns 0 to 7 of a word are its nibbles 0, 4, 1, 5, 2, 6, 3, 7 from the lowest', () => {
  expect(hex(packAwq(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7), 1, 8))).toEqual(['75316420'])
  for (const [column, nibble] of [0, 4, 1, 5, 2, 6, 3, 7].entries()) {
    const codes = new Uint8Array(8)
    codes[column] = 15
    expect(packAwq(codes, 1, 8)[0]! >>> 0).toBe(15 * 2 ** (4 * nibble))
  }
})
test('symmetric zeros of 8 are words 0x88888888: nothing is taken off', () => {
  expect(hex(packAwq(new Uint8Array(16).fill(8), 1, 16))).toEqual(['88888888', '88888888'])
})
test('codes come back, from signed and from unsigned words', () => {
  fc.assert(
    fc.property(matrices, ({ rows, columns, codes }) => {
      const words = packAwq(codes, rows, columns)
      expect(words).toHaveLength((rows * columns) / 8)
      expect(unpackAwq(words, rows, columns)).toEqual(codes)
      expect(unpackAwq(new Uint32Array(words.buffer), rows, columns)).toEqual(codes)
    }),
  )
})
test('a word is the sum of its columns, each times 16 to the power of its nibble', () => {
  fc.assert(
    fc.property(matrices, ({ rows, columns, codes }) => {
      const powers = [0, 4, 1, 5, 2, 6, 3, 7].map((nibble) => 16 ** nibble)
      const sums = Array.from({ length: (rows * columns) / 8 }, (_, w) =>
        powers.reduce((sum, power, column) => sum + power * codes[w * 8 + column]!, 0),
      )
      expect([...new Uint32Array(packAwq(codes, rows, columns).buffer)]).toEqual(sums)
    }),
  )
})
test('reading the nibbles in plain or in reversed order gives other codes', () => {
  const codes = Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7)
  const word = packAwq(codes, 1, 8)[0]!
  const plain = Array.from({ length: 8 }, (_, i) => (word >>> (4 * i)) & 15)
  expect(plain).not.toEqual([...codes])
  const reversed = plain.toReversed().reduce((sum, nibble, i) => sum | (nibble << (4 * i)), 0)
  expect(unpackAwq(Int32Array.of(reversed), 1, 8)).not.toEqual(codes)
})
test('an empty matrix has no words', () => {
  expect(packAwq(new Uint8Array(0), 0, 8)).toHaveLength(0)
  expect(unpackAwq(new Int32Array(0), 3, 0)).toHaveLength(0)
})
test('widths, codes and words that do not fit are refused', () => {
  const refused = { code: 'PARE_E_AWQ' }
  expect(() => packAwq(new Uint8Array(12), 1, 12)).toThrow(expect.objectContaining(refused))
  expect(() => packAwq(new Uint8Array(12), 1, 12)).toThrow(/8 outputs a word, got 12/)
  expect(() => packAwq(new Uint8Array(8).fill(16), 1, 8)).toThrow(/at most 15, got 16/)
  expect(() => packAwq(new Uint8Array(7), 1, 8)).toThrow(OptionError)
  expect(() => unpackAwq(new Int32Array(2), 1, 8)).toThrow(FormatError)
  expect(() => unpackAwq(new Int32Array(2), 1, 8)).toThrow(expect.objectContaining(refused))
  expect(() => unpackAwq(new Int32Array(1), -1, -8)).toThrow(expect.objectContaining(refused))
})
