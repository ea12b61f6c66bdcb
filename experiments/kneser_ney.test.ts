import { expect, test } from 'vitest'
import { randomStream } from '../src/tensor/index.ts'
import { discountsOf, ngramModel } from './kneser_ney.ts'

const [a, b, c] = [0, 1, 2]
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)

test('a b a b a c: bigrams over continuations over 1/3, by hand', () => {
  // No pair occurs three times, so that the discounts are 1/2, 1 and 3/2. Each token follows one other:
  // p1 = (1 - 1/2) / 3 + (3/2) / 3 / 3 = 1/3. After a stand b twice and c once: the discounts give 1 + 1/2 of 3 away.
  const model = ngramModel(Uint32Array.of(a, b, a, b, a, c), { order: 2, vocabulary: 3 })
  expect(model.sizes).toEqual([3, 3])
  for (const token of [a, b, c]) expect(model.probability([], token)).toBeCloseTo(1 / 3, 12)
  expect(model.probability([a], b)).toBeCloseTo((2 - 1) / 3 + 1.5 / 3 / 3, 12)
  expect(model.probability([a], c)).toBeCloseTo((1 - 0.5) / 3 + 1.5 / 3 / 3, 12)
  expect(model.probability([a], a)).toBeCloseTo(1.5 / 3 / 3, 12)
})

test('counts 4, 3, 2, 1, 1 have the discounts 1/2, 1/2 and 1, by hand', () => {
  // n1 = 2, n2 = n3 = n4 = 1, Y = 2 / (2 + 2): D1 = 1 - 1/2, D2 = 2 - 3/2, D3 = 3 - 2.
  expect(discountsOf(Uint32Array.of(4, 3, 2, 1, 1))).toEqual([0.5, 0.5, 1])
  const tokens = Uint32Array.from([...'aaaabbbccde'], (letter) => letter.charCodeAt(0) - 97)
  const model = ngramModel(tokens, { order: 1, vocabulary: 6 })
  const given = 1 + 1 + 0.5 + 0.5 + 0.5
  expect(model.probability([], a)).toBeCloseTo((4 - 1 + given / 6) / 11, 12)
  expect(model.probability([], 5)).toBeCloseTo(given / 6 / 11, 12)
})

test('after every history, seen or not, the probabilities add to 1', () => {
  const random = randomStream(7, 'tokens').bits([4000]).toArray() as Uint32Array
  // The smaller of two draws: some tokens are frequent.
  const tokens = Uint32Array.from({ length: 2000 }, (_, i) =>
    Math.min(random[i]! % 12, random[i + 2000]! % 12),
  )
  const model = ngramModel(tokens, { order: 4, vocabulary: 13 })
  const histories = [
    [],
    [12],
    [3, 12, 0],
    ...Array.from({ length: 50 }, (_, i) => [...tokens.slice(i, i + 5)]),
  ]
  for (const history of histories) {
    const all = Array.from({ length: 13 }, (_, token) => model.probability(history, token))
    expect(sum(all)).toBeCloseTo(1, 10)
    expect(Math.min(...all)).toBeGreaterThan(0)
  }
})

test('only the last tokens of a history count', () => {
  const model = ngramModel(Uint32Array.of(a, b, c, a, b, c, a, b, b), { order: 3, vocabulary: 3 })
  expect(model.probability([c, c, a, b], c)).toBe(model.probability([a, b], c))
  expect(model.probability([a, b], c)).toBeGreaterThan(model.probability([b], c))
})

test('too few tokens and ids past the vocabulary are refused', () => {
  expect(() => ngramModel(Uint32Array.of(1), { order: 2, vocabulary: 3 })).toThrow(/2 are needed .* got 1/)
  expect(() => ngramModel(Uint32Array.of(1, 3), { order: 2, vocabulary: 3 })).toThrow(
    /below 3 are needed, got 3/,
  )
})
