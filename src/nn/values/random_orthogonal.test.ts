import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { OptionError } from '../../tensor/errors.ts'
import { bytesOf, randomStream, scope, type Tensor, tensor } from '../../tensor/index.ts'
import { randomOrthogonal, turn, turnBack } from './random_orthogonal.ts'
import { isTurnable, squarestFactors } from './rotation_sizes.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const identity = (n: number) =>
  tensor(
    Float64Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0)),
    [n, n],
    'f64',
  )
const largest = (x: Tensor) => x.abs().max().item()
const digest = (seed: number, size: number) => {
  const { factors, order } = randomOrthogonal(seed, 'left', size)
  const hash = createHash('sha256')
  for (const part of [...factors, order]) hash.update(bytesOf(part))
  return hash.digest('hex').slice(0, 16)
}

test('a seed gives the same bytes on every machine', () => {
  expect([digest(0, 12), digest(7, 576), digest(2 ** 32 - 1, 1009), digest(1, 101)]).toEqual([
    // Of a program in Python.
    '321e8d93c91c3147',
    '160a21ddfb0319d9',
    '264e4a22f9fa95e6',
    'd90da1a21c2e44ee',
  ])
})
test('other seeds and other streams give other matrices', () => {
  const of = (seed: number, stream: string) => [...randomOrthogonal(seed, stream, 6).factors[1]]
  expect(of(1, 'left')).toEqual(of(1, 'left'))
  expect(of(1, 'left')).not.toEqual(of(2, 'left'))
  expect(of(1, 'left')).not.toEqual(of(1, 'right'))
})
test.each([1, 2, 3, 7, 12, 64, 97, 251, 257, 576, 1009, 1536])(
  'size %i: Q^T Q is the identity, and what was turned comes back',
  (size) => {
    scope(() => {
      const q = randomOrthogonal(3, 'right', size)
      const x = randomStream(size, 'x').normal([5, size], 'f64')
      const turned = turn(q, x)
      expect(largest(turnBack(q, turned).sub(x))).toBeLessThan(1e-12)
      expect(largest(turned.square().sum(1).div(x.square().sum(1)).sub(1))).toBeLessThan(1e-13)
      if (size > 600) return
      const dense = turn(q, identity(size))
      expect(largest(dense.transpose().matmul(dense).sub(identity(size)))).toBeLessThan(1e-13)
    })
  },
)
test('a turn is the Kronecker product of both factors on columns in the new order, and leaves the tail', () => {
  const q = randomOrthogonal(5, 'right', 257)
  const [a, b] = q.widths
  expect([a, b]).toEqual([16, 16])
  const x = numbers(randomStream(0, 'x').normal([1, 257], 'f64'))
  const sorted = [...q.order].map((column) => x[column]!)
  const [left, right] = q.factors
  const expected = Float64Array.from(sorted)
  for (let i = 0; i < a * b; i++) {
    let sum = 0
    for (let j = 0; j < a * b; j++)
      sum += left[Math.floor(i / b) * a + Math.floor(j / b)]! * right[(i % b) * b + (j % b)]! * sorted[j]!
    expected[i] = sum
  }
  const found = numbers(turn(q, tensor(x, [1, 257], 'f64')))
  found.forEach((value, i) => {
    expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-13)
  })
  expect(found[256]).toBe(sorted[256])
})
test('matrices of two rows have every angle and both signs alike, as uniform ones have', () => {
  const sums = [0, 0, 0, 0, 0]
  const draws = 4000
  for (let seed = 0; seed < draws; seed++) {
    const [, q] = randomOrthogonal(seed, 'left', 2).factors
    const angle = Math.atan2(q[1]!, q[0]!)
    sums[0]! += Math.cos(angle)
    sums[1]! += Math.sin(angle)
    sums[2]! += Math.cos(4 * angle)
    sums[3]! += Math.sin(2 * angle)
    sums[4]! += q[0]! * q[3]! - q[1]! * q[2]!
  }
  // Means of draws with a variance of at most 1: five deviations.
  for (const sum of sums) expect(Math.abs(sum / draws)).toBeLessThan(5 / Math.sqrt(draws))
})
test('first rows of larger ones are normal directions: their fourth moments are 3 n / (n + 2) of the square', () => {
  const n = 16
  const draws = 3000
  let [second, fourth] = [0, 0]
  for (let seed = 0; seed < draws; seed++) {
    const [q] = randomOrthogonal(seed, 'left', n * n).factors
    for (const row of [0, n - 1]) {
      second += n * q[row * n + 3]! ** 2
      fourth += n ** 2 * q[row * n + 3]! ** 4
    }
  }
  expect(Math.abs(second / (2 * draws) - 1)).toBeLessThan(0.08)
  expect(Math.abs(fourth / (2 * draws) - (3 * n) / (n + 2))).toBeLessThan(0.5)
})
test('factors of any size stay small, and leave few numbers', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 18 }), (size) => {
      const [a, b] = squarestFactors(size)
      expect(a).toBeLessThanOrEqual(b)
      expect(b).toBeLessThanOrEqual(Math.max(256, 2 * Math.sqrt(size)))
      expect(size - a * b).toBeGreaterThanOrEqual(0)
      expect(size - a * b).toBeLessThan(30)
    }),
  )
  expect([576, 251, 1009, 4864, 50257, 151936].map((size) => squarestFactors(size))).toEqual([
    [24, 24],
    [1, 251],
    [28, 36],
    [64, 76],
    [144, 349],
    [377, 403],
  ])
})
test('sizes past the largest are refused', () => {
  for (const size of [0, -1, 1.5, 2 ** 18 + 1, Number.NaN])
    expect(() => randomOrthogonal(0, 'left', size)).toThrow(OptionError)
  expect(isTurnable([2 ** 18, 1024])).toBe(true)
  expect(isTurnable([2 ** 18, 1025])).toBe(false)
  expect(isTurnable([2 ** 18 + 1, 1])).toBe(false)
})
