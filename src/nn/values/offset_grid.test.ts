import fc from 'fast-check'
import { expect, test } from 'vitest'
import { randomStream, scope, tensor } from '../../tensor/index.ts'
import { decodeValues, neighbourGroups } from '../grid.ts'
import { decodeOffsets, gridOfOffsets, type OffsetValues } from './offset_grid.ts'

function random(rows: number, columns: number, groupSize: number, seed: number): OffsetValues {
  const stream = randomStream(seed, 'offsets')
  const groups = Math.ceil(columns / groupSize)
  const halves = () => stream.normal([rows, groups]).cast('f16').cast('f32')
  return {
    ...{ kind: 'offset', form: { bits: 4, groupSize, scaleType: 'f16' } },
    codes: tensor(
      Uint8Array.from({ length: rows * columns }, () => stream.integer(16)),
      [rows, columns],
      'u8',
    ),
    ...{ scales: halves(), offsets: halves(), groupOf: neighbourGroups(columns, groupSize) },
  }
}

test('a grid with zeros has the numbers of one with offsets but for the last bits of either', () => {
  const sizes = fc.record({
    rows: fc.integer({ min: 1, max: 6 }),
    columns: fc.integer({ min: 1, max: 90 }),
    groupSize: fc.constantFrom(8, 32, 64),
    seed: fc.nat(),
  })
  fc.assert(
    fc.property(sizes, ({ rows, columns, groupSize, seed }) =>
      scope(() => {
        const values = random(rows, columns, groupSize, seed)
        const grid = gridOfOffsets(values)!
        const bound = values.offsets.abs().max().item() + 16 * values.scales.abs().max().item()
        const error = decodeValues(grid).sub(decodeOffsets(values)).abs().max().item()
        expect(error).toBeLessThanOrEqual(bound * 2 ** -22)
      }),
    ),
    { numRuns: 40 },
  )
})
test('a group of one number has no zero, unless that number is 0', () => {
  const values = random(1, 64, 64, 1)
  const [zero, one] = [tensor([0], [1, 1]), tensor([1], [1, 1])]
  expect(gridOfOffsets({ ...values, scales: zero, offsets: one })).toBeUndefined()
  expect(gridOfOffsets({ ...values, scales: zero, offsets: zero })).toBeDefined()
  const least = tensor([2 ** -140], [1, 1])
  expect(gridOfOffsets({ ...values, scales: least, offsets: one })).toBeUndefined()
})
