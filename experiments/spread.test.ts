import { expect, test } from 'vitest'
import { spread, spreadOf } from './spread.ts'
import { groupBy, showSpread, table } from './table.ts'

test('the spread is the standard deviation of a sample, and one value has none', () => {
  // Deviations -2, 0, 2: 8 over 2.
  expect(spread([1, 3, 5])).toBe(2)
  expect(spread([3])).toBeUndefined()
  expect(spreadOf([1, 3, 5])).toEqual({ mean: 3, spread: 2, low: 1, high: 5, seeds: 3 })
  expect(showSpread(spreadOf([0.1, 0.3]), 1, 100)).toBe('20.0 ± 14.1')
  expect(showSpread(spreadOf([0.25]), 2)).toBe('0.25')
})
test('groups and tables keep the order', () => {
  expect(groupBy([3, 12, 4, 15], (x) => String(x > 9))).toEqual([
    [3, 4],
    [12, 15],
  ])
  expect(table(['a', 'b'], [['1', '2']])).toBe('| a | b |\n| --- | --- |\n| 1 | 2 |')
})
