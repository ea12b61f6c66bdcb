import { expect, test } from 'vitest'
import { randomStream, tensor } from '../tensor/index.ts'
import { InputSquares } from './input_squares.ts'
import { GramStatistic } from './statistics.ts'

test('squares are summed over every leading axis and every call', () => {
  const squares = new InputSquares(2)
  squares.add(tensor([1, 2, 3, 4], [2, 2]))
  squares.add(tensor([1, 0, 0, 1, 2, 2], [1, 3, 2]))
  // 1 + 9 + 1 + 4, 4 + 16 + 1 + 4
  expect([[...squares.sums], squares.rows]).toEqual([[15, 25], 5])
})
test('they are the diagonal of the Gram matrix', () => {
  const x = randomStream(1, 'rows').normal([3, 200, 8])
  const [squares, gram] = [new InputSquares(8), new GramStatistic('gram', 8)]
  squares.add(x)
  gram.add(x)
  const values = Array.from(gram.value().gram!.toArray(), Number)
  // 600 f32 additions of sums near 600.
  for (const [i, sum] of squares.sums.entries())
    expect(Math.abs(sum / values[9 * i]! - 1)).toBeLessThan(600 * 2 ** -24)
  expect(squares.rows).toBe(600)
  gram.dispose()
})
