import { expect, test } from 'vitest'
import { distance, expectedOf, openFixture } from '../models/llama/fixtures.suite.ts'
import { AbortError } from '../tensor/errors.ts'
import { logitDistance, summary, tokenLogits } from './token_logits.ts'

test('logits stage by stage are those that the oracle computes', async () => {
  const open = openFixture('llama-untied')
  try {
    const { tokens, logits } = expectedOf('llama-untied')
    expect(distance(await tokenLogits(open.model, tokens), logits)).toBeLessThan(1e-5)
  } finally {
    open.close()
  }
})
test('a signal stops them', async () => {
  const open = openFixture('llama-untied')
  const signal = AbortSignal.abort()
  await expect(tokenLogits(open.model, Uint32Array.of(1, 2), { signal })).rejects.toBeInstanceOf(AbortError)
  open.close()
})
test('the distance of logits, worked by hand', () => {
  // Two tokens, two entries: p = (1/2, 1/2) and (3/4, 1/4).
  const source = Float32Array.of(0, 0, Math.log(3), 0)
  const own = Float32Array.of(Math.log(3), 0, Math.log(3), 0)
  const { largest, kl, top1, relative } = logitDistance(own, source, 2)
  expect(largest).toBeCloseTo(1, 6)
  // 1/2 log(1/2 / 3/4) + 1/2 log(1/2 / 1/4), half of it.
  expect(kl).toBeCloseTo((0.5 * Math.log(2 / 3) + 0.5 * Math.log(2)) / 2, 6)
  // Of equally likely tokens the first is the top.
  expect(top1).toBe(1)
  expect(relative).toBeCloseTo(1, 6)
  expect(logitDistance(source, source, 2)).toEqual({ largest: 0, kl: 0, top1: 1, relative: 0 })
})
test('what softmax does not see is no spread, and what is not finite is no distance', () => {
  const source = Float32Array.of(1, 2, 3)
  expect(
    logitDistance(
      source.map((x) => x + 5),
      source,
      3,
    ).relative,
  ).toBeCloseTo(0, 6)
  expect(logitDistance(Float32Array.of(1, Number.NaN, 3), source, 3).largest).toBeNaN()
})
test('the summary of a token is its top, its mean and the logarithm of the sum of exponentials', () => {
  const { top, mean, logSum } = summary(Float32Array.of(1000, 1001, 999))
  expect([top, mean]).toEqual([1, 1000])
  expect(logSum).toBeCloseTo(1001 + Math.log(1 + Math.exp(-1) + Math.exp(-2)), 9)
})
