import { expect, test } from 'vitest'
import { type AffineValues, affineGrid, type GridSource } from '../nn/grid.ts'
import { syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { type Tensor, tensor } from '../tensor/index.ts'
import { rtn } from './rtn.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const round = (dense: Tensor, grid = affineGrid()) =>
  rtn().compress({ name: 'layer', dense, current: dense, statistics: { rows: 0 }, grid })
const valuesOf = (edit: ReturnType<typeof round>) => (edit.source as GridSource).values as AffineValues

test('every weight goes to the nearest level, and halves go to the even one', () => {
  const dense = tensor([-1, 2, 0.5, 1.5, 0.75, -0.25], [1, 6])
  const edit = round(dense, affineGrid({ bits: 2, groupSize: 'row' }))
  expect(numbers(valuesOf(edit).scales)).toEqual([1])
  expect(numbers(valuesOf(edit).zeros)).toEqual([1])
  expect(numbers(edit.decoded!)).toEqual([-1, 2, 0, 2, 1, 0])
})

test('the grid of a group spans its lowest and highest weight with 0 between them', () => {
  const dense = tensor([1, 3, 2, -1.5, -0.5, -1], [1, 6])
  const values = valuesOf(round(dense, affineGrid({ bits: 2, groupSize: 3 })))
  expect(numbers(values.scales)).toEqual([1, 0.5])
  expect(numbers(values.zeros)).toEqual([0, 3])
  expect(numbers(values.codes)).toEqual([1, 3, 2, 0, 2, 1])
})

test('a symmetric grid without negative weights still has both sides', () => {
  const values = valuesOf(
    round(tensor([0, 3.5], [1, 2]), affineGrid({ bits: 3, groupSize: 'row', symmetric: true })),
  )
  expect([numbers(values.scales), numbers(values.zeros)]).toEqual([[1], [4]])
})

test.each([2, 3, 4, 8] as const)('rounding a rounded weight again is the identity at %i bits', (bits) => {
  const dense = syntheticLayer({ seed: 3, tokens: 64 }).weight.cast('f32')
  const grid = affineGrid({ bits, groupSize: 16 })
  const once = round(dense, grid)
  const twice = round(once.decoded!, grid)
  const [a, b] = [valuesOf(once), valuesOf(twice)]
  const [scales, again] = [numbers(a.scales), numbers(b.scales)]
  const [first, second] = [numbers(once.decoded!), numbers(twice.decoded!)]
  let same = 0
  // A group whose ends met a tie spans one step less, and so has another grid.
  for (const [group, scale] of scales.entries()) {
    if (scale !== again[group]) continue
    same += 1
    const start = group * 16
    expect(second.slice(start, start + 16)).toEqual(first.slice(start, start + 16))
  }
  expect(same).toBeGreaterThan(0.95 * scales.length)
})

test('the dense weight is left as it was and the result has its type', () => {
  const dense = tensor([0.1, 0.2, 0.3, 0.4], [2, 2], 'f64')
  const edit = round(dense)
  expect(numbers(dense)).toEqual([0.1, 0.2, 0.3, 0.4])
  expect(edit.decoded!.dtype).toBe('f64')
  expect(edit.diagnostics.notes).toEqual([])
})
