import fc from 'fast-check'
import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { spearman } from './rank_correlation.ts'

test('of lists without equal numbers it is 1 - 6 sum d^2 / (n (n^2 - 1))', () => {
  expect(spearman([1, 2, 3], [10, 30, 20])).toBeCloseTo(0.5, 12)
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer(), { minLength: 2, maxLength: 40 }), fc.integer(), (a, seed) => {
      // Any order of the places, made of the seed.
      const b = a.map((_, i) => (i * 7919 + seed) % 10007)
      fc.pre(new Set(b).size === b.length)
      const rank = (list: number[]) => list.map((x) => list.filter((y) => y <= x).length)
      const [x, y] = [rank(a), rank(b)]
      const squares = x.reduce((sum, r, i) => sum + (r - y[i]!) ** 2, 0)
      const n = a.length
      expect(spearman(a, b)).toBeCloseTo(1 - (6 * squares) / (n * (n * n - 1)), 10)
    }),
  )
})
test('equal numbers share the mean of their ranks', () => {
  // Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: 4.5 / sqrt(4.5 * 5), by hand.
  expect(spearman([1, 2, 2, 3], [1, 3, 2, 4])).toBeCloseTo(4.5 / Math.sqrt(22.5), 12)
  expect(spearman([1, 1, 1], [1, 2, 3])).toBeNaN()
})
test('only the order counts, and the other way round it is -1', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -50, max: 50 }), { minLength: 2, maxLength: 30 }), (a) => {
      fc.pre(new Set(a).size > 1)
      expect(
        spearman(
          a,
          a.map((x) => Math.exp(x / 10)),
        ),
      ).toBeCloseTo(1, 12)
      expect(
        spearman(
          a,
          a.map((x) => -x),
        ),
      ).toBeCloseTo(-1, 12)
    }),
  )
})
test('lists of other lengths, of one number, and NaN are refused', () => {
  expect(() => spearman([1, 2], [1])).toThrow(OptionError)
  expect(() => spearman([1], [1])).toThrow(OptionError)
  expect(() => spearman([1, Number.NaN], [1, 2])).toThrow(/NaN at 1/)
})
