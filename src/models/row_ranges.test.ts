import fc from 'fast-check'
import { expect, test } from 'vitest'
import { rowRanges } from './row_ranges.ts'

test('parts hold as many rows as fit, one at least, and the last one what is left', () => {
  const ends = (...given: Parameters<typeof rowRanges>) => rowRanges(...given).map(({ end }) => end)
  expect(rowRanges(5, 8, 16)).toEqual([
    { start: 0, end: 2 },
    { start: 2, end: 4 },
    { start: 4, end: 5 },
  ])
  expect(ends(3, 100, 16)).toEqual([1, 2, 3])
  expect(ends(5, 2.5, 8)).toEqual([3, 5])
})
test('rows of nothing are one part, however many they are, and no rows are none', () => {
  expect(rowRanges(2 ** 53 - 1, 0, 16)).toEqual([{ start: 0, end: 2 ** 53 - 1 }])
  expect(rowRanges(0, 0, 16)).toEqual([])
  expect(rowRanges(0, 8, 16)).toEqual([])
})
test('parts follow one another from the first row to the last', () => {
  const count = fc.integer({ min: 0, max: 300 })
  fc.assert(
    fc.property(count, count, fc.integer({ min: 1, max: 1000 }), (rows, rowSize, most) => {
      const parts = rowRanges(rows, rowSize, most)
      expect(
        parts.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i)),
      ).toEqual(Array.from({ length: rows }, (_, i) => i))
      for (const { start, end } of parts)
        expect(end - start === 1 || (end - start) * rowSize <= most).toBe(true)
    }),
  )
})
