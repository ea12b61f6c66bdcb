import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bitsAboveMean, levelCounts, wholeBitCounts } from './level_allocation.ts'

const losses = fc.array(fc.double({ min: 1e-3, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 12 })
const sum = (values: Iterable<number>) => Array.from(values).reduce((a, b) => a + b, 0)

/** Minimises sum c_j 4^(-R_j) with sum R_j = total: bisection on the loss that all columns share. */
function sharedLoss(c: readonly number[], total: number): number[] {
  const bitsFor = (log: number) => c.map((each) => (Math.log2(each) - log) / 2)
  let [low, high] = [-100, 100]
  for (let step = 0; step < 200; step++) {
    const middle = (low + high) / 2
    if (sum(bitsFor(middle)) > total) low = middle
    else high = middle
  }
  return bitsFor(low)
}

describe('what a correct implementation must show', () => {
  test('1: the closed form is the optimum, and all columns lose the same', () => {
    // What keeps logarithms finite, 1e-8 of the mean, is 1e-7 of the least of these.
    const near = fc.array(fc.double({ min: 0.3, max: 3, noNaN: true }), { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(near, fc.double({ min: 1, max: 8, noNaN: true }), (c, rate) => {
        const found = Array.from(bitsAboveMean(c), (above) => rate + above)
        for (const [j, bits] of sharedLoss(c, rate * c.length).entries())
          expect(Math.abs(found[j]! - bits)).toBeLessThan(1e-6)
        const each = c.map((loss, j) => loss * 4 ** -found[j]!)
        for (const loss of each) expect(Math.abs(loss / each[0]! - 1)).toBeLessThan(1e-6)
      }),
    )
  })
  test('1: no small exchange of bits between columns lowers the loss', () => {
    fc.assert(
      fc.property(losses, fc.nat(), fc.nat(), (c, a, b) => {
        const [i, j] = [a % c.length, b % c.length]
        const total = (bits: ArrayLike<number>) => sum(c.map((loss, k) => loss * 4 ** -bits[k]!))
        const found = bitsAboveMean(c)
        const moved = Float64Array.from(
          found,
          (bits, k) => bits + (k === i ? 0.01 : 0) - (k === j ? 0.01 : 0),
        )
        expect(total(moved)).toBeGreaterThanOrEqual(total(found) * (1 - 1e-12))
      }),
    )
  })
  test('2: equal losses give every column the same levels', () => {
    for (const bits of [1, 2, 3, 4, 8])
      for (const allocate of [levelCounts, wholeBitCounts])
        expect(new Set(allocate(new Float64Array(9).fill(0.3), { bits, exponent: 1.95 }))).toEqual(
          new Set([2 ** bits]),
        )
  })
  test.each([levelCounts, wholeBitCounts])(
    '3: a factor on all losses changes nothing, and columns take their levels with them: %o',
    (allocate) => {
      // All different, so that none goes first for its place alone.
      const shuffled = fc
        .uniqueArray(fc.integer({ min: 1, max: 2 ** 20 }), { minLength: 1, maxLength: 12 })
        .chain((c) => fc.tuple(fc.constant(c), fc.shuffledSubarray([...c.keys()], { minLength: c.length })))
      const options = { bits: 3, exponent: 1.95 }
      const countsOf = (c: readonly number[]) => Array.from(allocate(c, options))
      fc.assert(
        fc.property(shuffled, fc.integer({ min: -20, max: 20 }), ([c, order], power) => {
          const counts = countsOf(c)
          expect(countsOf(c.map((loss) => loss * 2 ** power))).toEqual(counts)
          expect(countsOf(order.map((j) => c[j]!))).toEqual(order.map((j) => counts[j]!))
        }),
        { numRuns: 1000 },
      )
    },
  )
  test('9: whole bits meet their budget exactly, whatever the losses', () => {
    fc.assert(
      fc.property(losses, fc.double({ min: 1, max: 8, noNaN: true }), (c, bits) => {
        const given = Array.from(wholeBitCounts(c, { bits, exponent: 2 }), Math.log2)
        expect(sum(given)).toBe(Math.round(bits * c.length))
        for (const count of given) expect(count >= 0 && count <= 8 && Number.isInteger(count)).toBe(true)
      }),
    )
  })
})

test('whole bits are the best that brute force finds', () => {
  const small = fc.array(fc.double({ min: 0.05, max: 5, noNaN: true }), { minLength: 3, maxLength: 4 })
  fc.assert(
    fc.property(small, fc.constantFrom(1.5, 2, 3), (c, bits) => {
      const total = (given: readonly number[]) => sum(c.map((loss, j) => loss * 4 ** -given[j]!))
      const budget = Math.round(bits * c.length)
      let best = Number.POSITIVE_INFINITY
      for (let code = 0; code < 9 ** c.length; code++) {
        const given = c.map((_, j) => Math.floor(code / 9 ** j) % 9)
        if (sum(given) === budget) best = Math.min(best, total(given))
      }
      const found = Array.from(wholeBitCounts(c, { bits, exponent: 2 }), Math.log2)
      expect(total(found)).toBeLessThan(best * (1 + 1e-6))
    }),
    { numRuns: 30 },
  )
})
test('columns that lose nothing get one level beside others, and where nobody loses all are alike', () => {
  const options = { bits: 3, exponent: 1.95 }
  expect([...levelCounts([0, 1, 1], options)][0]).toBe(1)
  expect([...levelCounts([0, 0, 0], options)]).toEqual([8, 8, 8])
  expect([...levelCounts([4, 1], { bits: 2, exponent: 2 })]).toEqual([6, 3])
})
