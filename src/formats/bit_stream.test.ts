import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { packColumns, packRows, rowWords, unpackColumns, unpackRows } from './bit_stream.ts'

const hex = (words: Uint32Array) => [...words].map((word) => word.toString(16))
const upTo = (length: number, levels: number) => Uint8Array.from({ length }, (_, i) => i % levels)

/** The words of one run from its definition: one number with code i at bit b*i. */
function streamOf(codes: Iterable<number>, bits: number, width: number): number[] {
  let [number, at] = [0n, 0n]
  for (const code of codes) {
    number |= BigInt(code) << at
    at += BigInt(bits)
  }
  return Array.from({ length: width }, (_, i) => Number((number >> BigInt(32 * i)) & 0xffffffffn))
}

test('4-bit codes 0 to 7 are the word 0x76543210, in a row and in a column', () => {
  expect(hex(packRows(upTo(8, 8), 1, 8, 4))).toEqual(['76543210'])
  expect(hex(packColumns(upTo(8, 8), 8, 1, 4))).toEqual(['76543210'])
})
test('3-bit codes i mod 8 are one stream over three words', () => {
  const words = ['88fac688', 'c688fac6', 'fac688fa']
  expect(hex(packRows(upTo(32, 8), 1, 32, 3))).toEqual(words)
  expect(hex(packColumns(upTo(32, 8), 32, 1, 3))).toEqual(words)
})
test('each row and each column begins with a word of its own, padded with zeros', () => {
  expect(rowWords(11, 3)).toBe(2)
  expect(hex(packRows(new Uint8Array(22).fill(7), 2, 11, 3))).toEqual(['ffffffff', '1', 'ffffffff', '1'])
  expect(hex(packColumns(new Uint8Array(22).fill(7), 11, 2, 3))).toEqual(['ffffffff', 'ffffffff', '1', '1'])
})
test('what stands in the padding of a run is in none of its codes', () => {
  const words = packRows(new Uint8Array(22).fill(7), 2, 11, 3)
  words[1]! |= 0xfffffffe
  expect(unpackRows(words, 2, 11, 3)).toEqual(new Uint8Array(22).fill(7))
})
test('an empty matrix has no words, however long its empty rows or columns are', () => {
  for (const [rows, columns] of [
    [0, 0],
    [2 ** 50, 0],
    [0, 2 ** 50],
  ] as const) {
    const none = new Uint8Array(0)
    expect(packRows(none, rows, columns, 5)).toHaveLength(0)
    expect(packColumns(none, rows, columns, 5)).toHaveLength(0)
    expect(unpackRows(new Uint32Array(0), rows, columns, 5)).toHaveLength(0)
    expect(unpackColumns(new Uint32Array(0), rows, columns, 5)).toHaveLength(0)
  }
})

describe.each([1, 2, 3, 4, 5, 6, 7, 8])('%i bits', (bits) => {
  const matrices = fc.tuple(
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 1, max: 80 }),
    fc.infiniteStream(fc.nat(2 ** bits - 1)),
  )
  test('a run is the number that has code i at bit b*i, and comes back from signed words too', () => {
    fc.assert(
      fc.property(matrices, ([rows, columns, stream]) => {
        const codes = Uint8Array.from({ length: rows * columns }, () => stream.next().value as number)
        const width = rowWords(columns, bits)
        const words = packRows(codes, rows, columns, bits)
        const expected = Array.from({ length: rows }, (_, row) =>
          streamOf(codes.subarray(row * columns, (row + 1) * columns), bits, width),
        )
        expect([...words]).toEqual(expected.flat())
        expect(unpackRows(words, rows, columns, bits)).toEqual(codes)
        expect(unpackRows(new Int32Array(words.buffer), rows, columns, bits)).toEqual(codes)
      }),
      { numRuns: 50 },
    )
  })
  test('packing columns is packing rows of the transposed matrix', () => {
    fc.assert(
      fc.property(matrices, ([count, length, stream]) => {
        const codes = Uint8Array.from({ length: count * length }, () => stream.next().value as number)
        const turned = codes.map((_, i) => codes[(i % count) * length + Math.floor(i / count)]!)
        const [rows, columns] = [
          packRows(codes, count, length, bits),
          packColumns(turned, length, count, bits),
        ]
        const width = rowWords(length, bits)
        expect([...columns]).toEqual(
          Array.from(columns, (_, i) => rows[(i % count) * width + Math.floor(i / count)]),
        )
        expect(unpackColumns(columns, length, count, bits)).toEqual(turned)
        expect(unpackColumns(new Int32Array(columns.buffer), length, count, bits)).toEqual(turned)
      }),
      { numRuns: 50 },
    )
  })
})
