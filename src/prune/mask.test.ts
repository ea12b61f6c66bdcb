import { expect, test } from 'vitest'
import { numbersBelow } from '../formats/mulberry32.suite.ts'
import { NumericalError } from '../tensor/errors.ts'
import { kthLargest } from './kth_largest.ts'
import { keptCount, topMask } from './mask.ts'

/** Whole numbers, so that many are equal. */
const drawn = (size: number, below: number, seed: number): Float32Array => {
  const next = numbersBelow(seed)
  return Float32Array.from({ length: size }, () => next(below) - below / 2)
}

test('counts are rounded with halves to even, and never 0', () => {
  expect([0, 0.05, 0.15, 0.25, 0.5, 0.85, 0.95, 0.99].map((s) => keptCount(10, s))).toEqual([
    10, 10, 8, 8, 5, 2, 1, 1,
  ])
})
test('the k-th largest is that of a sorted list, for every k', () => {
  for (let seed = 0; seed < 20; seed++) {
    const values = drawn(1 + ((seed * 7) % 50), seed % 3 === 0 ? 4 : 1000, seed)
    const sorted = values.toSorted().reverse()
    for (let k = 1; k <= values.length; k++) expect(kthLargest(values, k)).toBe(sorted[k - 1])
  }
  expect(kthLargest(Float64Array.of(-Infinity, Infinity, 0, -0), 2)).toBe(0)
})
test('of equal scores the lowest, the latest or all indices stay', () => {
  const scores = Float32Array.of(2, 1, 1, 3, 1)
  expect([...topMask(scores, 3, 'lowest')]).toEqual([1, 1, 0, 1, 0])
  expect([...topMask(scores, 3, 'latest')]).toEqual([1, 0, 0, 1, 1])
  expect([...topMask(scores, 3, 'all')]).toEqual([1, 1, 1, 1, 1])
  expect([...topMask(scores, 2, 'all')]).toEqual([1, 0, 0, 1, 0])
  expect([...topMask(scores, 0)]).toEqual([0, 0, 0, 0, 0])
})
test('a mask is that of a stable sort, and its count exact', () => {
  for (let seed = 0; seed < 30; seed++) {
    const values = drawn(64, seed % 2 === 0 ? 8 : 4096, seed)
    const kept = 1 + ((seed * 13) % 64)
    const order = Array.from(values.keys()).sort((a, b) => values[b]! - values[a]! || a - b)
    const wanted = new Uint8Array(64)
    for (const i of order.slice(0, kept)) wanted[i] = 1
    expect(topMask(values, kept)).toEqual(wanted)
  }
})
test('a score that is NaN is refused', () => {
  expect(() => topMask(Float32Array.of(1, Number.NaN), 1)).toThrow(NumericalError)
})
