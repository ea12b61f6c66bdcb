import fc from 'fast-check'
import { expect, test } from 'vitest'
import { largestByCount, largestByShare } from './largest_values.ts'

/** Multiples of 1/8, so that sums are exact and values are often equal. */
const values = fc.array(
  fc.integer({ min: 0, max: 12 }).map((value) => value / 8),
  { minLength: 1, maxLength: 60 },
)
const sorted = (all: readonly number[]) => [...all].sort((a, b) => b - a)
/** The end of a prefix of sorted values, as `Largest` tells it. */
const endOf = (all: readonly number[], count: number) => {
  const kept = sorted(all).slice(0, count)
  const least = kept.at(-1)!
  return { least, equal: kept.filter((value) => value === least).length }
}

test('the largest values by count are those in front after sorting', () => {
  fc.assert(
    fc.property(values, fc.nat(59), (all, more) => {
      const count = 1 + (more % all.length)
      expect(largestByCount(Float64Array.from(all), count)).toEqual(endOf(all, count))
    }),
  )
})
test('the largest values by share are the fewest in front that have it', () => {
  fc.assert(
    fc.property(values, fc.integer({ min: 1, max: 64 }), (all, parts) => {
      const share = parts / 64
      const total = all.reduce((a, b) => a + b)
      let [sum, count] = [0, 0]
      for (const value of sorted(all)) if (sum < share * total) [sum, count] = [sum + value, count + 1]
      const found = largestByShare(Float64Array.from(all), share)
      // Where all are zero, none is needed.
      expect(found).toEqual(endOf(all, Math.max(1, count)))
    }),
  )
})
test('both hold where most values are left out at once', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 600 }), (seed, count) => {
      const all = Array.from({ length: 5000 }, (_, i) => (((i * 7919 + seed * 31) % 997) & 1023) / 8)
      expect(largestByCount(Float64Array.from(all), count)).toEqual(endOf(all, count))
      const share =
        sorted(all)
          .slice(0, count)
          .reduce((a, b) => a + b) / all.reduce((a, b) => a + b)
      // Just less than those have, by more than f64 sums of 5000 values are off.
      expect(largestByShare(Float64Array.from(all), share * (1 - 1e-12))).toEqual(endOf(all, count))
    }),
  )
})
test('many equal, sorted and rising values take few passes', () => {
  const length = 1_000_000
  const started = performance.now()
  for (const value of [() => 1, (i: number) => i, (i: number) => length - i, (i: number) => i % 7]) {
    const all = Float64Array.from({ length }, (_, i) => value(i))
    expect(largestByShare(all, 1e-9).least).toBe(Math.max(...[value(0), value(length - 1), value(6)]))
  }
  // One pass for each value would take an hour.
  expect(performance.now() - started).toBeLessThan(30_000)
})
test('minus infinity stands behind all numbers', () => {
  expect(largestByCount(Float64Array.of(-Infinity, 2, -Infinity, 1), 3)).toEqual({
    least: -Infinity,
    equal: 1,
  })
})
