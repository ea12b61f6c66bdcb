import fc from 'fast-check'
import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { cubicSparsity } from './sparsity_schedule.ts'

const updatesOf = (options: Parameters<typeof cubicSparsity>[0], until: number) => {
  const { updates } = cubicSparsity(options)
  return Array.from({ length: until }, (_, step) => step).filter(updates)
}

test('the table of the method: 0, 0.505859375, 0.765625, 0.875, then constant', () => {
  const { sparsity } = cubicSparsity({ to: 0.875, end: 1000 })
  // 0.875 (1 - (3/4)^3) and 0.875 (1 - (1/2)^3)
  expect([0, 250, 500, 1000, 1001, 9999].map(sparsity)).toEqual([
    0, 0.505859375, 0.765625, 0.875, 0.875, 0.875,
  ])
})
test('masks are made anew from the beginning on, every so many steps, and at the end', () => {
  expect(updatesOf({ to: 0.5, begin: 3, end: 13, every: 5 }, 30)).toEqual([3, 8, 13])
  expect(updatesOf({ to: 0.5, begin: 3, end: 14, every: 5 }, 30)).toEqual([3, 8, 13, 14])
  expect(updatesOf({ to: 0.5, end: 40 }, 300)).toEqual([0, 40])
})
test('the convention of jaxpruner counts from step 0 and one step ahead', () => {
  const options = { to: 0.5, begin: 3, end: 13, every: 5, convention: 'jaxpruner' } as const
  expect(updatesOf(options, 30)).toEqual([5, 10])
  const { sparsity } = cubicSparsity(options)
  // progress (t + 1 - 3) / 10
  expect([0, 3, 7, 12, 13, 20].map(sparsity)).toEqual([
    0,
    0.5 - 0.5 * 0.9 ** 3,
    0.5 - 0.5 * 0.5 ** 3,
    0.5,
    0.5,
    0.5,
  ])
})
test('sparsity never falls, stays between its ends, and meets both', () => {
  const share = fc.double({ min: 0, max: 0.999, noNaN: true })
  const count = fc.integer({ min: 0, max: 50 })
  fc.assert(
    fc.property(share, share, count, count, fc.integer({ min: 1, max: 6 }), (a, b, begin, length, power) => {
      const [from, to] = [Math.min(a, b), Math.max(a, b)]
      const end = begin + 1 + length
      const { sparsity } = cubicSparsity({ from, to, begin, end, power })
      const found = Array.from({ length: end + 3 }, (_, step) => sparsity(step))
      expect(found.slice(0, begin + 1)).toEqual(Array(begin + 1).fill(from))
      expect(found.slice(end)).toEqual([to, to, to])
      // A rounding of the difference and one of the sum.
      for (let i = 1; i < found.length; i++)
        expect(found[i]!).toBeGreaterThanOrEqual(found[i - 1]! - 2 ** -52)
    }),
  )
})
test.each([
  { to: 1, end: 10 },
  { to: -0.1, end: 10 },
  { to: 0.5, from: 1, end: 10 },
  { to: 0.5, begin: 10, end: 10 },
  { to: 0.5, begin: -1, end: 10 },
  { to: 0.5, end: 10.5 },
  { to: 0.5, end: 10, every: 0 },
  { to: 0.5, end: 10, power: 0 },
  { to: 0.5, end: 10, from: 0.1, convention: 'jaxpruner' as const },
  { to: 0.5, end: 10, convention: 'sparseml' as never },
])('%j is refused', (options) => {
  expect(() => cubicSparsity(options)).toThrow(OptionError)
})
