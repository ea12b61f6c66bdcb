import { describe, expect, test } from 'vitest'
import { FormatError } from '../tensor/errors.ts'
import { pareJson, readPareJson } from './pare_folder.ts'
import type { PareWeight } from './pare_weight.ts'

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
    ['a newer version', { version: 6 }],
    ['a version before the first', { version: 0 }],
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
      { ...grid, zeroType: 'f32' },
      { kind: 'dense', shape: [4, 8], numberType: 'f16' },
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

describe('pare.json of version 2', () => {
  const shape: [number, number] = [4, 6]
  const dense: PareWeight = { kind: 'dense', shape, numberType: 'bf16' }
  const grid: PareWeight = {
    ...{ kind: 'grid', shape, bits: 3, groupSize: 4, symmetric: false, scaleType: 'f16', sorted: true },
  } as const
  const sized = (rows: number, columns: number): PareWeight => ({ ...dense, shape: [rows, columns] })
  const codebook = { kind: 'codebook', shape, bits: 2, books: 1, entries: 4, tile: { rows: 2, columns: 3 } }
  const product = { kind: 'product', shape, left: sized(4, 2), right: sized(2, 6) }
  const bitmask = { kind: 'bitmask', shape, kept: 24, numberType: 'f16' }
  const nested = (depth: number): PareWeight =>
    depth === 1 ? dense : { kind: 'permuted', shape, values: nested(depth - 1) }
  const sum = (terms: number) => ({ kind: 'sum', shape, terms: Array(terms).fill(dense) })
  const read = (weights: unknown) => readPareJson({ format: 'pare', version: 2, weights })

  test('has every kind, and trees up to their limits', () => {
    const all = { dense, grid, codebook, product, bitmask, deep: nested(8), wide: sum(63) }
    expect(Object.fromEntries(read(all))).toEqual(all)
  })
  test.each<[string, unknown, string?]>([
    ['a grid that does not say whether it is sorted', { ...grid, sorted: undefined }],
    ['9 bits', { ...grid, bits: 9 }],
    ['zeros of a symmetric grid', { ...grid, symmetric: true, zeroType: 'u8' }],
    ['an unknown kind', { ...dense, kind: 'toString' }],
    ['numbers of no float type', { ...dense, numberType: 'u8' }],
    ['more weights than any matrix', sized(2 ** 20, 2 ** 20)],
    ['tiles that do not divide', { ...codebook, tile: { rows: 3, columns: 3 } }],
    ['entries past the bits', { ...codebook, entries: 5 }],
    ['more kept than places', { ...bitmask, kept: 25 }],
    ['less than nothing', { kind: 'sparse_rows', shape, entries: -1, valueType: 'f16' }],
    ['a sum of nothing', { kind: 'sum', shape, terms: [] }, 'layer.7.terms'],
    ['terms of other shapes', { kind: 'sum', shape, terms: [dense, sized(6, 4)] }],
    ['a product that does not fit', { ...product, right: sized(3, 6) }],
    ['a part that is not described', { ...product, right: null }, 'layer.7.right'],
    ['a part that is wrong', { kind: 'sum', shape, terms: [dense, { ...grid, bits: 0 }] }, 'layer.7.terms.1'],
    ['a tree that is too deep', nested(9), `layer.7${'.values'.repeat(7)}`],
    ['a tree of too many parts', sum(64)],
  ])('%s is refused by name', (_, weight, part = 'layer.7') => {
    expect(() => read({ fine: grid, 'layer.7': weight })).toThrow(FormatError)
    expect(() => read({ fine: grid, 'layer.7': weight })).toThrow(`how ${part} is put together`)
  })
  test('is written only where version 1 does not say it', () => {
    const { sorted: _, ...first } = grid as PareWeight & { kind: 'grid' }
    const blocks: PareWeight = { kind: 'blocks', type: 'Q8_0', shape: [4, 32] }
    expect(
      pareJson(
        new Map<string, PareWeight>([
          ['a', grid],
          ['b', blocks],
        ]),
      ),
    ).toEqual({
      ...{ format: 'pare', version: 1, weights: { a: first, b: blocks } },
    })
    for (const other of [
      dense,
      { ...grid, bits: 5 },
      { ...grid, scaleType: 'bf16' },
      { ...grid, zeroType: 'u8' },
    ])
      expect(
        pareJson(
          new Map<string, PareWeight>([
            ['a', grid],
            ['b', other as PareWeight],
          ]),
        ),
      ).toEqual({
        ...{ format: 'pare', version: 2, weights: { a: grid, b: other } },
      })
  })
  test('a sum that is rounded makes version 3, wherever it stands', () => {
    const rounded: PareWeight = { kind: 'sum', shape, terms: [dense], rounded: 'f16' }
    for (const weight of [rounded, { kind: 'permuted', shape, values: rounded } as PareWeight]) {
      expect(pareJson(new Map([['a', weight]]))).toEqual({
        format: 'pare',
        version: 3,
        weights: { a: weight },
      })
    }
    expect(read({ a: rounded }).get('a')).toEqual(rounded)
    expect(() => read({ a: { ...rounded, rounded: 'bf16' } })).toThrow(/how a is put together/)
  })
  test('a masked grid makes version 4, wherever it stands', () => {
    const masked: PareWeight = {
      ...{
        kind: 'masked_grid',
        shape,
        kept: 9,
        bits: 3,
        groupSize: 'row',
        symmetric: false,
        scaleType: 'f16',
      },
      sorted: false,
    }
    for (const weight of [
      masked,
      { kind: 'sum', shape, terms: [dense, masked], rounded: 'f16' } as PareWeight,
    ])
      expect(pareJson(new Map([['a', weight]]))).toEqual({
        ...{ format: 'pare', version: 4, weights: { a: weight } },
      })
    expect(read({ a: masked }).get('a')).toEqual(masked)
    for (const wrong of [{ kept: 25 }, { kept: -1 }, { symmetric: 0 }, { bits: 9 }, { sorted: undefined }])
      expect(() => read({ a: { ...masked, ...wrong } })).toThrow(/how a is put together/)
  })
  test('levels of columns, and scales of other bits than weights, make version 4, wherever they stand', () => {
    const levels: PareWeight = { kind: 'column_levels', shape, words: 6, centred: false }
    const bilevel: PareWeight = { kind: 'bilevel', shape, bits: 3, tile: { rows: 2, columns: 3 } }
    const version = (weight: PareWeight) => pareJson(new Map([['a', weight]])).version
    expect(version(bilevel)).toBe(2)
    for (const weight of [
      levels,
      { ...bilevel, scaleBits: 4 },
      { ...bilevel, zeroBits: 4 },
      { ...bilevel, wholeZeros: true },
    ] as PareWeight[]) {
      expect(version(weight)).toBe(4)
      expect(version({ kind: 'sum', shape, terms: [dense, weight], rounded: 'f16' })).toBe(4)
      expect(version({ kind: 'permuted', shape, values: weight })).toBe(4)
      expect(read({ a: weight }).get('a')).toEqual(weight)
    }
    for (const wrong of [
      { ...levels, words: 7 },
      { ...levels, words: -1 },
      { ...levels, centred: 1 },
      { ...bilevel, scaleBits: 9 },
      { ...bilevel, zeroBits: 0 },
      { ...bilevel, wholeZeros: false },
    ])
      expect(() => read({ a: wrong }), JSON.stringify(wrong)).toThrow(/how a is put together/)
  })
  test('a rotated grid makes version 5, wherever it stands, and is no larger than can be turned', () => {
    const rotated: PareWeight = { kind: 'rotated_grid', shape, bits: 2 }
    for (const weight of [
      rotated,
      { kind: 'sum', shape, terms: [dense, rotated], rounded: 'f16' } as PareWeight,
    ])
      expect(pareJson(new Map([['a', weight]]))).toEqual({
        ...{ format: 'pare', version: 5, weights: { a: weight } },
      })
    expect(read({ a: rotated }).get('a')).toEqual(rotated)
    for (const wrong of [
      { bits: 0 },
      { bits: 9 },
      { bits: '2' },
      { shape: [1, 2 ** 18 + 1] },
      { shape: [2 ** 18, 1025] },
    ])
      expect(() => read({ a: { ...rotated, ...wrong } })).toThrow(/how a is put together/)
  })
})
