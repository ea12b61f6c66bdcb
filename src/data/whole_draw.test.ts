import { expect, test } from 'vitest'
import { wholeBelow } from './whole_draw.ts'

test('a draw is cut into parts of equal length, the last of which ends below the limit', () => {
  expect([0, 0.24, 0.25, 0.5, 0.75, 1 - 2 ** -24].map((draw) => wholeBelow(draw, 4))).toEqual([
    0, 0, 1, 2, 3, 3,
  ])
  // The largest draws of both number types.
  for (const below1 of [1 - 2 ** -24, 1 - 2 ** -53]) expect(wholeBelow(below1, 2 ** 20)).toBe(2 ** 20 - 1)
})
