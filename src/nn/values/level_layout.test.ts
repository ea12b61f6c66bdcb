import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bitsOfCount, centreOf, factorOf, levelLayout } from './level_layout.ts'

test('codes take 2, 3, 4 or 8 bits, and those of 5 to 7 are in two parts', () => {
  expect([2, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256].map(bitsOfCount)).toEqual([
    ...[2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8],
  ])
})
test('codes of an even number of levels lie around their middle, of an odd one half a level beside it', () => {
  expect([2, 3, 4, 5, 256].map(centreOf)).toEqual([0.5, 1.5, 1.5, 2.5, 127.5])
})
test('a level is a share of the range; centred ones are a quarter apart', () => {
  expect([factorOf(5, false), factorOf(2, false), factorOf(2, true)]).toEqual([0.25, 1, 0.25])
})
test('every column of more than one level stands in its planes once for each part, and what fills up has no factor', () => {
  const counts = fc.array(fc.integer({ min: 1, max: 256 }), { minLength: 1, maxLength: 400 })
  fc.assert(
    fc.property(counts, fc.boolean(), (list, centred) => {
      const levels = Uint16Array.from(list)
      const { planes } = levelLayout(levels, centred)!
      const bits = new Map<number, number>()
      for (const { columns, factors, widths, bits: wide } of planes) {
        expect(columns.length % 32).toBe(0)
        for (const [at, column] of columns.entries()) {
          if (factors[at] === 0) continue
          expect(widths[at]).toBeLessThanOrEqual(wide)
          bits.set(column, (bits.get(column) ?? 0) + widths[at]!)
        }
      }
      for (const [column, count] of levels.entries())
        expect(bits.get(column)).toBe(count === 1 ? undefined : bitsOfCount(count))
    }),
  )
})
test('more than 256 levels have no layout', () => {
  expect(levelLayout(Uint16Array.of(2, 257), false)).toBeUndefined()
})
