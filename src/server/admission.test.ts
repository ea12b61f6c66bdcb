import { expect, test } from 'vitest'
import { Admission } from './admission.ts'

test('a request gets a place for each text, but no more than are written at once or are free', () => {
  const admission = new Admission({ parallel: 4, maxQueue: 3 })
  const all = [2, 9, 9].map((texts) => admission.enter(texts))
  expect(all.map(({ count }) => count)).toEqual([2, 4, 1])
  expect(admission.held).toBe(7)
  expect(() => admission.enter(1)).toThrow(expect.objectContaining({ status: 429, retryAfter: 1 }))
  all[0]!.leave()
  all[0]!.leave()
  expect(admission.held).toBe(5)
  expect(admission.enter(4).count).toBe(2)
})
test('numbers of places that cannot be are refused by their option', () => {
  for (const [option, parallel, maxQueue] of [
    ['parallel', 0, 1],
    ['parallel', 1025, 1],
    ['maxQueue', 1, -1],
    ['maxQueue', 1, 0.5],
  ] as const)
    expect(() => new Admission({ parallel, maxQueue })).toThrow(
      new RegExp(`^${option}: needs a whole number`),
    )
})
test('one place that is free is enough for a request of many texts', () => {
  const admission = new Admission({ parallel: 1, maxQueue: 0 })
  const { count, leave } = admission.enter(128)
  expect(count).toBe(1)
  leave()
  expect(admission.held).toBe(0)
})
