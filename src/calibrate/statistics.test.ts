import { expect, test } from 'vitest'
import { randomStream, type Tensor, tensor } from '../tensor/index.ts'
import { GramStatistic } from './statistics.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)

test('the products of all rows are summed, over every leading axis and every call', () => {
  const statistic = new GramStatistic('layer', 2)
  statistic.add(tensor([1, 2, 3, 4], [2, 2]))
  statistic.add(tensor([1, 0, 0, 1, 2, 2], [1, 3, 2]))
  const { gram, rows } = statistic.value()
  expect([gram!.dtype, gram!.shape, rows]).toEqual(['f64', [2, 2], 5])
  // x^T x: 1 + 9 + 1 + 4, 2 + 12 + 4, 4 + 16 + 1 + 4
  expect(numbers(gram!)).toEqual([15, 18, 18, 25])
  statistic.dispose()
})
test('a value is that of its moment', () => {
  const statistic = new GramStatistic('layer', 1)
  statistic.add(tensor([2], [1, 1]))
  const first = statistic.value()
  statistic.add(tensor([3], [1, 1]))
  expect([numbers(first.gram!), first.rows, numbers(statistic.value().gram!), statistic.rows]).toEqual([
    [4],
    1,
    [13],
    2,
  ])
  statistic.dispose()
})
test('sums of many rows keep more digits than f32 has', () => {
  const statistic = new GramStatistic('layer', 1)
  // In f32 a sum of 2^24 ends growing by ones.
  statistic.add(tensor([4096], [1, 1]))
  for (let i = 0; i < 10; i++) statistic.add(tensor([1], [1, 1]))
  expect(numbers(statistic.value().gram!)).toEqual([2 ** 24 + 10])
  statistic.dispose()
})
test('rows in several calls give what they give at once, to the rounding of f32 products', () => {
  const x = randomStream(1, 'rows').normal([1500, 8])
  const [whole, parts] = [new GramStatistic('a', 8), new GramStatistic('b', 8)]
  whole.add(x)
  for (let start = 0; start < 1500; start += 100) parts.add(x.slice(0, start, start + 100))
  const [a, b] = [numbers(whole.value().gram!), numbers(parts.value().gram!)]
  for (const [i, value] of a.entries()) expect(Math.abs(value - b[i]!)).toBeLessThan(1500 * 2 ** -20)
  expect(a[1]).toBe(a[8])
  for (const statistic of [whole, parts]) statistic.dispose()
})
