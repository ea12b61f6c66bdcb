import { describe, expect, test } from 'vitest'
import { columnSweep } from '../nn/column_sweep.ts'
import { affineGrid, type Grid } from '../nn/grid.ts'
import { randomStream, scope, type Tensor, tensor } from '../tensor/index.ts'
import { searchClip } from './clip_search.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)

/** Every group for itself, with plain loops; the rounding alone is the grid's. */
function oracle(weight: Tensor, x: Tensor, grid: Grid, width: number): number[] {
  const [rows, columns] = weight.shape as [number, number]
  const [w, inputs, tokens] = [numbers(weight), numbers(x), x.extent(0)]
  const found: number[] = []
  for (let row = 0; row < rows; row++)
    for (let start = 0; start < columns; start += width) {
      const group = w.slice(row * columns + start, row * columns + Math.min(columns, start + width))
      const largest = Math.max(...group.map(Math.abs))
      let best = { error: Number.POSITIVE_INFINITY, bound: 0 }
      for (let i = 0; i < 10; i++) {
        const bound = largest * (1 - i / 20)
        const clamped = group.map((value) => Math.min(bound, Math.max(-bound, value)))
        const rounded = scope(() =>
          numbers(columnSweep(tensor(clamped, [1, clamped.length], 'f64'), { grid }).dense),
        )
        let error = 0
        for (let token = 0; token < tokens; token++) {
          const lost = group.reduce(
            (sum, value, j) => sum + inputs[token * columns + start + j]! * (rounded[j]! - value),
            0,
          )
          error += lost * lost
        }
        if (error < best.error) best = { error, bound }
      }
      found.push(best.bound)
    }
  return found
}

describe.each([
  { bits: 2, groupSize: 8, symmetric: false, width: 8 },
  { bits: 3, groupSize: 8, symmetric: true, width: 8 },
  { bits: 3, groupSize: 'row', symmetric: false, width: 20 },
] as const)('$bits bits, groups of $groupSize, symmetric: $symmetric', ({ width, ...options }) => {
  test('bounds are those of plain loops, also of a last group that is shorter', () => {
    scope(() => {
      const stream = randomStream(3, 'clip')
      const [weight, x] = [stream.normal([6, 20], 'f64'), stream.normal([30, 20], 'f64')]
      const grid = affineGrid(options)
      const { bounds, groupSize, cut } = searchClip(weight, x, grid)
      const expected = oracle(weight, x, grid, width)
      expect(groupSize).toBe(width)
      expect(bounds.length).toBe(expected.length)
      for (const [i, bound] of expected.entries()) expect(bounds[i]).toBeCloseTo(bound, 6)
      expect(cut).toBeGreaterThan(0)
    })
  })
})

test('block types are cut in blocks', () => {
  scope(() => {
    const stream = randomStream(4, 'clip')
    const grid = { kind: 'blocks', type: 'Q4_0' } as const
    const { bounds, groupSize } = searchClip(stream.normal([3, 64]), stream.normal([10, 64]), grid)
    expect([groupSize, bounds.length]).toEqual([32, 6])
  })
})
test('rows of zeros and of one value keep their bounds, since no cut is better', () => {
  scope(() => {
    const weight = tensor([0, 0, 0, 0, 2, 2, 2, 2], [2, 4])
    const { bounds, cut } = searchClip(
      weight,
      randomStream(5, 'x').normal([7, 4]),
      affineGrid({ bits: 4, groupSize: 4 }),
    )
    expect([[...bounds], cut]).toEqual([[0, 2], 0])
  })
})
test('one token is enough', () => {
  scope(() => {
    const stream = randomStream(6, 'clip')
    const { bounds } = searchClip(stream.normal([2, 8]), stream.normal([1, 8]), affineGrid({ groupSize: 4 }))
    expect(bounds.every((bound) => bound > 0)).toBe(true)
  })
})
