import fc from 'fast-check'
import { expect, test } from 'vitest'
import { axis, exactAxis, logarithmicAxis, roundStep, roundTicks, tickDigits } from './axis.ts'

test('ticks are round and enclose the range', () => {
  expect(roundTicks(0, 10)).toEqual([0, 2, 4, 6, 8, 10])
  expect(roundTicks(0.03, 0.21)).toEqual([0, 0.05, 0.1, 0.15, 0.2, 0.25])
  expect(roundTicks(-39.8, -10, 6)).toEqual([-40, -35, -30, -25, -20, -15, -10])
  expect([roundStep(1), roundStep(1.1), roundStep(3), roundStep(0.06), roundStep(7000)]).toEqual([
    1, 2, 5, 0.1, 10_000,
  ])
})
test('a range of one value has ticks on both sides of it', () => {
  for (const value of [0, 3, -1e-3, 1e9]) {
    const ticks = roundTicks(value, value)
    expect(ticks[0]).toBeLessThan(value)
    expect(ticks.at(-1)).toBeGreaterThan(value)
  }
})
test('ticks of any range are few, rising, and told apart by their digits', () => {
  const value = fc.double({ min: -1e12, max: 1e12, noNaN: true })
  fc.assert(
    fc.property(value, value, (a, b) => {
      const [low, high] = [Math.min(a, b), Math.max(a, b)]
      // Neighbouring numbers have no round number between them.
      fc.pre(high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high)) && high - low > 1e-12)
      const ticks = roundTicks(low, high)
      expect(ticks.length).toBeGreaterThanOrEqual(2)
      expect(ticks.length).toBeLessThanOrEqual(8)
      const step = ticks[1]! - ticks[0]!
      expect(ticks[0]).toBeLessThanOrEqual(low + 1e-6 * step)
      expect(ticks.at(-1)).toBeGreaterThanOrEqual(high - 1e-6 * step)
      const texts = ticks.map((tick) => tick.toFixed(Math.min(100, tickDigits(ticks))))
      expect(new Set(texts).size).toBe(ticks.length)
    }),
  )
})
test('an axis lays its ends on its ends, upside down too, and holds what lies outside', () => {
  const x = axis(0, 10, 100, 200)
  expect([0, 5, 10, -3, 99].map(x.at)).toEqual([100, 150, 200, 100, 200])
  const y = axis(0, 4, 90, 10)
  expect([0, 1, 4].map(y.at)).toEqual([90, 70, 10])
})
test('a logarithmic axis has the powers of 10 around its values, and what is not above 0 at its beginning', () => {
  const { ticks, at } = logarithmicAxis(0.004, 11.6, 0, 500)
  expect(ticks).toEqual([0.001, 0.01, 0.1, 1, 10, 100])
  expect([at(0.001), at(1), at(100), at(0), at(-1), at(1e9)]).toEqual([0, 300, 500, 0, 0, 500])
  expect(logarithmicAxis(1, 1, 0, 9).ticks).toEqual([1, 10])
})
test('an exact axis ends at its value, and its ticks do not pass it', () => {
  const { ticks, at } = exactAxis(8.35, 0, 835, 9)
  expect(ticks).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  expect([at(8.35), at(1)]).toEqual([835, 100])
})
