import fc from 'fast-check'
import { expect, test } from 'vitest'
import { NumericalError } from '../tensor/errors.ts'
import { chancesOf } from './token_chances.ts'

test('chances are logarithms of shares, worked by hand', () => {
  const { id, logprob, top } = chancesOf(Float32Array.from([0.5, 0.25, 0.125, 0.125].map(Math.log)), 2, 3)
  expect([id, logprob]).toEqual([2, expect.closeTo(Math.log(0.125), 6)])
  expect(top).toEqual([
    { id: 0, logprob: expect.closeTo(Math.log(0.5), 6) },
    { id: 1, logprob: expect.closeTo(Math.log(0.25), 6) },
    { id: 2, logprob: expect.closeTo(Math.log(0.125), 6) },
  ])
})
test('the likeliest are those in front after sorting, of equal ones the lowest ids, and chances add up to 1', () => {
  const logits = fc.array(fc.integer({ min: -8, max: 8 }), { minLength: 1, maxLength: 40 })
  fc.assert(
    fc.property(logits, fc.nat(20), (all, count) => {
      const values = Float32Array.from(all)
      const order = all.map((_, id) => id).sort((a, b) => all[b]! - all[a]! || a - b)
      expect(chancesOf(values, 0, count).top.map(({ id }) => id)).toEqual(order.slice(0, count))
      const sum = all.reduce((total, _, id) => total + Math.exp(chancesOf(values, id, 0).logprob), 0)
      // f64 sums of up to 40 shares.
      expect(sum).toBeCloseTo(1, 12)
    }),
  )
})
test('large logits do not overflow, and a token that never comes has minus infinity', () => {
  const { logprob, top } = chancesOf(Float32Array.of(3e38, -Infinity, 3e38), 1, 3)
  expect(logprob).toBe(-Infinity)
  expect(top.map(({ id }) => id)).toEqual([0, 2, 1])
  expect(top[0]!.logprob).toBeCloseTo(-Math.LN2, 12)
})
test('logits that are no numbers end in a typed error', () => {
  for (const bad of [Number.NaN, Infinity])
    expect(() => chancesOf(Float32Array.of(0, bad), 0, 1)).toThrow(NumericalError)
})
