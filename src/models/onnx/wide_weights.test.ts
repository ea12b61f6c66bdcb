import fc from 'fast-check'
import { expect, test } from 'vitest'
import { affineGrid } from '../../nn/grid.ts'
import { withWideWeights } from './wide_weights.ts'

const never = () => false
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)

test('the smallest weights stay f32, those of one size alike', () => {
  const weights = [
    { name: 'bias', shape: [8] },
    { name: 'large', shape: [40, 20] },
    { name: 'first', shape: [4, 3] },
    { name: 'second', shape: [3, 4] },
    { name: 'codes', shape: [2, 2], grid: affineGrid() },
  ]
  // A sixteenth of 832 is 52: 8 and twice 12 fit, 800 does not.
  const wide = (of: readonly { name: string; wide?: boolean }[]) =>
    of.flatMap((weight) => (weight.wide ? [weight.name] : []))
  expect(wide(withWideWeights(weights, never))).toEqual(['bias', 'first', 'second'])
  expect(wide(withWideWeights(weights, (name) => name === 'first'))).toEqual(['bias', 'second'])
  // Three of 12 and 8 are 44, four are 56, which is more than a sixteenth of 856.
  const more = [...weights, { name: 'third', shape: [12] }, { name: 'fourth', shape: [12] }]
  expect(wide(withWideWeights(more, never))).toEqual(['bias'])
})

test('they have at most a sixteenth of all numbers, and none left is smaller than one of them', () => {
  const shapes = fc.array(fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 3 }), {
    minLength: 1,
    maxLength: 30,
  })
  fc.assert(
    fc.property(shapes, (list) => {
      const weights = withWideWeights(
        list.map((shape, i) => ({ name: `${i}`, shape })),
        never,
      )
      const sizes = (wide: boolean) =>
        weights.filter((weight) => (weight.wide ?? false) === wide).map(({ shape }) => sizeOf(shape))
      const all = weights.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
      expect(16 * sizes(true).reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(all)
      expect(Math.max(0, ...sizes(true))).toBeLessThan(Math.min(...sizes(false)))
    }),
  )
})
