import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { ones, scope, type Tensor, tensor, valueAndGrad } from '../../tensor/index.ts'
import { bitsOfStored, decodeStored, type StoredValues, shapeOfStored, storedSource } from './values.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const decoded = (values: StoredValues) => scope(() => numbers(decodeStored(values)))
const dense = (data: number[], shape: [number, number]): StoredValues => ({
  kind: 'dense',
  numbers: tensor(data, shape),
})

const offset: StoredValues = {
  kind: 'offset',
  form: { bits: 3, groupSize: 2, scaleType: 'bf16' },
  codes: tensor([0, 1, 7, 2, 3, 4], [2, 3], 'u8'),
  scales: tensor([0.5, 2, 1, -4], [2, 2]),
  offsets: tensor([-1, 0, 0.25, 8], [2, 2]),
  groupOf: Uint32Array.of(0, 0, 1),
}
const codebook: StoredValues = {
  kind: 'codebook',
  shape: [2, 4],
  bits: 1,
  // Two rows, two groups of two columns, two books.
  codes: tensor([0, 1, 1, 0, 1, 1, 0, 0], [2, 2, 2], 'u32'),
  codebooks: tensor([1, 2, 3, 4, 10, 20, 30, 40], [2, 2, 1, 2]),
  scales: tensor([1, 0.5], [2]),
}
const bitmask: StoredValues = {
  kind: 'bitmask',
  shape: [2, 10],
  mask: Uint8Array.of(0b0000_0101, 0b10, 0, 0b01),
  kept: tensor([1, 2, 3, 4], [4], 'f16'),
}
const maskedGrid: StoredValues = {
  kind: 'masked_grid',
  shape: [2, 10],
  grid: { bits: 3, groupSize: 8, scaleType: 'f16', symmetric: false },
  mask: Uint8Array.of(0b1000_0001, 0b10, 0b10, 0),
  codes: tensor([3, 1, 2, 7], [4], 'u8'),
  scales: tensor([0.5, 2, 1, 4], [2, 2]),
  zeros: tensor([1, 4, 3, 0], [2, 2], 'u8'),
  groupOf: Uint32Array.of(0, 0, 0, 0, 0, 0, 0, 0, 1, 1),
}
const sparse: StoredValues = {
  kind: 'sparse_rows',
  shape: [2, 3],
  rowOffsets: Uint32Array.of(0, 1, 3),
  columns: Uint32Array.of(2, 0, 0),
  values: Float32Array.of(5, 1, 2),
  valueType: 'f16',
}
const levels: StoredValues = {
  ...{ kind: 'column_levels', shape: [2, 4], centred: true },
  levels: tensor([1, 2, 3, 5], [4], 'u16'),
  lows: tensor([-1, -8]),
  highs: tensor([3, 0]),
  // Columns of 2, 3 and 5 levels: 1 + 2 * 0, 2 + 3 * 1, 4 + 5 * 3.
  words: tensor([1, 5, 19], [3], 'u64'),
}
const wholeZeros: StoredValues = {
  ...{ kind: 'bilevel', bits: 2, scaleBits: 3, zeroBits: 2, tile: { rows: 1, columns: 2 } },
  codes: tensor([0, 3], [1, 2], 'u8'),
  scaleCodes: tensor([7], [1, 1], 'u8'),
  zeroCodes: tensor([2], [1, 1], 'u8'),
  second: { scaleScale: tensor([0.5], [1, 1]), scaleZero: tensor([-1], [1, 1]) },
}
const bilevel: StoredValues = {
  kind: 'bilevel',
  bits: 3,
  tile: { rows: 2, columns: 2 },
  codes: tensor([0, 7, 3, 4], [2, 2], 'u8'),
  scaleCodes: tensor([1, 2], [2, 1], 'u8'),
  zeroCodes: tensor([3, 4], [2, 1], 'u8'),
  second: {
    scaleScale: tensor([0.5], [1, 1]),
    scaleZero: tensor([-1], [1, 1]),
    zeroScale: tensor([2], [1, 1]),
    zeroZero: tensor([1], [1, 1]),
  },
}
const trees: Record<string, StoredValues> = {
  offset,
  codebook,
  bitmask,
  masked_grid: maskedGrid,
  sparse,
  bilevel,
  levels,
  wholeZeros,
  sum: { kind: 'sum', terms: [dense([1, 2, 3, 4, 5, 6], [2, 3]), sparse] },
  product: { kind: 'product', left: dense([1, 2], [2, 1]), right: dense([3, 4, 5], [1, 3]) },
  scaled: {
    kind: 'scaled',
    values: dense([1, 2, 3, 4], [2, 2]),
    rows: tensor([10, 100]),
    columns: tensor([1, 0.5]),
  },
  permuted: {
    kind: 'permuted',
    values: dense([1, 2, 3, 4, 5, 6], [2, 3]),
    order: Uint32Array.of(2, 0, 1),
  },
}

describe('values worked by hand:', () => {
  test.each<[string, number[]]>([
    // 0.5 * code - 1 in the first two columns, 2 * code in the last; then code + 0.25, 8 - 4 * code.
    ['offset', [-1, -0.5, 14, 2.25, 3.25, -8]],
    // Row 0: entries 0 + 1', 1 + 0'; row 1, halved: 1 + 1', 0 + 0'.
    ['codebook', [31, 42, 13, 24, 16.5, 22, 5.5, 11]],
    ['bitmask', [1, 0, 2, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]],
    // 0.5 * (3 - 1), 0.5 * (1 - 1) and 2 * (2 - 4) in row 0; 7 - 3 in row 1.
    ['masked_grid', [1, 0, 0, 0, 0, 0, 0, 0, 0, -4, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0]],
    ['sparse', [0, 0, 5, 3, 0, 0]],
    // Scales 0.5 * (1 + 1) and 0.5 * (2 + 1); zeros 2 * (3 - 1) and 2 * (4 - 1).
    ['bilevel', [-4, 3, -4.5, -3]],
    // Nothing; 1 +- 0.5 and -4 +- 1; steps of 2 and 4 with zeros round(0.5) = 0 and 2; steps of 1 and 2, zeros 1 and 4.
    ['levels', [0, 1.5, 4, 3, 0, -5, -4, -2]],
    // Scale 0.5 * (7 + 1), zero 2.
    ['wholeZeros', [-8, 4]],
    ['sum', [1, 2, 8, 7, 5, 6]],
    ['product', [3, 4, 5, 6, 8, 10]],
    ['scaled', [10, 10, 300, 200]],
    ['permuted', [2, 3, 1, 5, 6, 4]],
  ])('%s', (name, expected) => {
    expect(decoded(trees[name]!)).toEqual(expected)
  })
})

test.each(Object.entries(trees))(
  'a source of %s multiplies with what it decodes to, and passes the gradient on',
  (_, values) => {
    scope(() => {
      const source = storedSource(values)
      const [out, inputs] = source.shape
      expect(source.shape).toEqual(shapeOfStored(values))
      const weight = decoded(values)
      const { value, gradients } = valueAndGrad((given) => source.matmul(given.x).sum(), {
        x: ones([1, inputs]),
      })
      expect(value.item()).toBeCloseTo(
        weight.reduce((a, b) => a + b),
        4,
      )
      const byColumn = Array.from({ length: inputs }, (_, c) =>
        Array.from({ length: out }, (_, r) => weight[r * inputs + c]!).reduce((a, b) => a + b),
      )
      expect(numbers(gradients.x)).toEqual(byColumn)
    })
  },
)
test('a product keeps nothing of the expanded weight', () => {
  scope(() => {
    for (const values of Object.values(trees)) {
      const source = storedSource(values)
      const x = ones([1, source.shape[1]])
      const before = x.kernels.memory().live
      const y = source.matmul(x)
      expect(x.kernels.memory().live - before).toBe(4 * y.size)
    }
  })
})
test('stored bits count codes, scales and marks', () => {
  const bits = (name: string) => bitsOfStored(trees[name]!)
  expect(bits('offset')).toBe(6 * 3 + 4 * 32)
  expect(bits('codebook')).toBe(8 * 1 + (8 + 2) * 16)
  expect(bits('bitmask')).toBe(2 * 16 + 4 * 16)
  // Marks, codes, scales and zeros, and where rows begin.
  expect(bits('masked_grid')).toBe(2 * 16 + 4 * 3 + 4 * 19 + 3 * 32)
  expect(bits('sparse')).toBe(3 * (16 + 16) + 3 * 32)
  expect(bits('bilevel')).toBe(4 * 3 + 4 * 3 + 4 * 16)
  expect(bits('levels')).toBe(3 * 64 + 4 * 16 + 4 * 16)
  expect(bits('wholeZeros')).toBe(2 * 2 + 3 + 2 + 2 * 16)
  expect(bits('sum')).toBe(6 * 32 + bits('sparse'))
  expect(bits('product')).toBe(5 * 32)
  expect(bits('scaled')).toBe(4 * 32 + 4 * 32)
  expect(bits('permuted')).toBe(6 * 32 + 3 * 16)
})
test('each step of a two-level grid is rounded to f16', () => {
  const second = {
    scaleScale: tensor([0.333251953125], [1, 1]),
    scaleZero: tensor([0.10009765625], [1, 1]),
    zeroScale: tensor([0.7001953125], [1, 1]),
    zeroZero: tensor([2048], [1, 1]),
  }
  const values: StoredValues = { ...bilevel, second }
  const half = (x: number) => scope(() => numbers(tensor([x]).cast('f16').cast('f32'))[0]!)
  const { scaleScale, scaleZero, zeroScale, zeroZero } = second
  const of = (t: Tensor) => numbers(t)[0]!
  const expected = [0, 7, 3, 4].map((code, i) => {
    const row = i >> 1
    const s = half(of(scaleScale) * half([1, 2][row]! - of(scaleZero)))
    const z = half(of(zeroScale) * half([3, 4][row]! - of(zeroZero)))
    return half(s * half(code - z))
  })
  expect(decoded(values)).toEqual(expected)
})
test('marks, offsets and words that do not fit their values are refused', () => {
  const more = { ...bitmask, mask: Uint8Array.of(0xff, 0, 0, 0) } as StoredValues
  const fewer = { ...maskedGrid, codes: tensor([1, 2], [2], 'u8') } as StoredValues
  const past = { ...sparse, columns: Uint32Array.of(3, 0, 0) } as StoredValues
  const short = { ...levels, words: tensor([1, 5], [2], 'u64') } as StoredValues
  const large = { ...levels, words: tensor([1, 9, 19], [3], 'u64') } as StoredValues
  const absent = { ...levels, levels: tensor([0, 2, 3, 5], [4], 'u16') } as StoredValues
  const falling = { ...sparse, rowOffsets: Uint32Array.of(0, 4, 3) } as StoredValues
  for (const values of [more, fewer, past, falling, short, large, absent])
    expect(() => decoded(values)).toThrow(FormatError)
})
test('a permutation and its order cancel', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.integer(), (columns, seed) => {
      const order = Uint32Array.from({ length: columns }, (_, i) => i).sort(
        (a, b) => ((a * 7919 + seed) % 13) - ((b * 7919 + seed) % 13) || a - b,
      )
      const row = Array.from({ length: columns }, (_, c) => c + 1)
      const stored = Array.from(order, (column) => row[column]!)
      expect(decoded({ kind: 'permuted', values: dense(stored, [1, columns]), order })).toEqual(row)
    }),
  )
})
