import fc from 'fast-check'
import { expect, test } from 'vitest'
import { nonIncreasing } from './isotonic.ts'

const points = fc.array(
  fc.record({ value: fc.integer({ min: -50, max: 50 }), weight: fc.integer({ min: 1, max: 9 }) }),
  { minLength: 1, maxLength: 12 },
)

test('a rise is replaced by its weighted mean, and what falls stays', () => {
  expect(nonIncreasing([9, 1, 4, 2, 2], [1, 2, 1, 1, 5])).toEqual([9, 2, 2, 2, 2])
  expect(nonIncreasing([5, 3, 3, 1], [1, 1, 1, 1])).toEqual([5, 3, 3, 1])
  expect(nonIncreasing([], [])).toEqual([])
})
test('every value is the least over starts of the greatest over ends of the mean between them', () => {
  fc.assert(
    fc.property(points, (list) => {
      const mean = (from: number, to: number) => {
        const part = list.slice(from, to + 1)
        const weight = part.reduce((sum, p) => sum + p.weight, 0)
        return part.reduce((sum, p) => sum + p.weight * p.value, 0) / weight
      }
      const expected = list.map((_, i) => {
        const greatest = (from: number) => Math.max(...list.slice(i).map((_, k) => mean(from, i + k)))
        return Math.min(...list.slice(0, i + 1).map((_, from) => greatest(from)))
      })
      const found = nonIncreasing(
        list.map((p) => p.value),
        list.map((p) => p.weight),
      )
      // Means of at most 12 values up to 50.
      for (const [i, value] of found.entries()) expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-12)
    }),
  )
})
test('no value rises, not even in its last bit', () => {
  const float = fc.double({ min: 0, max: 1, noNaN: true })
  fc.assert(
    fc.property(fc.array(float, { maxLength: 30 }), (values) => {
      const fit = nonIncreasing(
        values,
        values.map((_, i) => 1 + (i % 3)),
      )
      for (const [i, value] of fit.slice(1).entries()) expect(value).toBeLessThanOrEqual(fit[i]!)
    }),
  )
})
