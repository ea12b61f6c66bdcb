import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FormatError } from '../tensor/errors.ts'
import { packRows, readPareJson, rowWords, unpackRows } from './pare_folder.ts'

const hex = (words: Uint32Array) => [...words].map((word) => word.toString(16))

describe('packed rows', () => {
  test('4-bit codes 0 to 7 are the word 0x76543210, and 3-bit codes one stream over words', () => {
    expect(hex(packRows(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7), 1, 8, 4))).toEqual(['76543210'])
    expect(
      hex(
        packRows(
          Uint8Array.from({ length: 32 }, (_, i) => i % 8),
          1,
          32,
          3,
        ),
      ),
    ).toEqual(['88fac688', 'c688fac6', 'fac688fa'])
  })
  test('each row begins with a word of its own, padded with zeros', () => {
    expect(rowWords(11, 3)).toBe(2)
    expect(hex(packRows(new Uint8Array(22).fill(7), 2, 11, 3))).toEqual(['ffffffff', '1', 'ffffffff', '1'])
  })
  test.each([2, 3, 4, 8])('%i-bit codes come back, whatever the width', (bits) => {
    const matrices = fc.tuple(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 80 }),
      fc.infiniteStream(fc.nat(2 ** bits - 1)),
    )
    fc.assert(
      fc.property(matrices, ([rows, columns, stream]) => {
        const codes = Uint8Array.from({ length: rows * columns }, () => stream.next().value as number)
        const words = packRows(codes, rows, columns, bits)
        expect(words).toHaveLength(rows * rowWords(columns, bits))
        expect(unpackRows(words, rows, columns, bits)).toEqual(codes)
      }),
    )
  })
})

describe('pare.json', () => {
  const grid = { kind: 'grid', shape: [4, 8], bits: 3, groupSize: 'row', symmetric: false, scaleType: 'f16' }
  const read = (weights: unknown, rest: object = {}) =>
    readPareJson({ format: 'pare', version: 1, weights, ...rest })

  test('descriptions are read by name', () => {
    const blocks = { kind: 'blocks', shape: [4, 256], type: 'Q3_K' }
    expect(Object.fromEntries(read({ a: grid, b: blocks }))).toEqual({ a: grid, b: blocks })
  })
  test.each([
    ['another format', { format: 'else' }],
    ['a newer version', { version: 2 }],
    ['no weights', { weights: null }],
  ])('%s is refused', (_, rest) => {
    expect(() => read({}, rest)).toThrow(FormatError)
  })
  test.each([undefined, null, 7, 'text', []])('%j in place of the file is refused', (value) => {
    expect(() => readPareJson(value)).toThrow(FormatError)
  })
  test('a weight that is not wholly described is refused by name', () => {
    const wrong = [
      null,
      'grid',
      {},
      { ...grid, kind: 'else' },
      { ...grid, bits: 5 },
      { ...grid, bits: '4' },
      { ...grid, groupSize: 0 },
      { ...grid, groupSize: 1.5 },
      { ...grid, symmetric: 1 },
      { ...grid, scaleType: 'bf16' },
      { ...grid, shape: [4] },
      { ...grid, shape: [4, -8] },
      { ...grid, shape: [4, 2.5] },
      { ...grid, shape: [4, 2 ** 60] },
      { kind: 'blocks', shape: [4, 8] },
    ]
    for (const weight of wrong) {
      expect(() => read({ fine: grid, 'layer.7': weight }), JSON.stringify(weight)).toThrow(/layer\.7/)
    }
  })
  test('a name that is no plain text is shown as such', () => {
    expect(() => read({ '\u001b[31m': null })).toThrow(/\\u\{1b\}\[31m/)
  })
})
