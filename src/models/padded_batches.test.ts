import { expect, test } from 'vitest'
import { scope } from '../tensor/index.ts'
import { padded, paddedBatches, paddingBias } from './padded_batches.ts'

const sequence = (length: number) => Uint32Array.from({ length }, (_, i) => 10 * length + i)

test('every sequence stands in one batch at its place, shortest first, and batches keep to their size', () => {
  const sequences = [7, 2, 5, 2, 30, 3, 1].map(sequence)
  const batches = paddedBatches(sequences, { padId: 9, most: 12 })
  expect(batches.flatMap(({ places }) => places)).toEqual([6, 1, 3, 5, 2, 0, 4])
  for (const { batch, places } of batches) {
    expect(batch.count * batch.tokens <= 12 || batch.count === 1).toBe(true)
    expect(batch.ids).toHaveLength(batch.count * batch.tokens)
    for (const [i, place] of places.entries()) {
      const row = batch.ids.slice(i * batch.tokens, (i + 1) * batch.tokens)
      const { length } = sequences[place]!
      expect(row.slice(0, length)).toEqual(sequences[place])
      expect(row.slice(length).every((id) => id === 9)).toBe(true)
      expect(batch.lengths[i]).toBe(length)
    }
  }
})
test('no sequences make no batch', () => {
  expect(paddedBatches([], { padId: 0 })).toEqual([])
})
test('the bias hides the filling, and there is none where nothing is filled up', () => {
  scope(() => {
    expect(paddingBias(padded([sequence(3), sequence(3)], 0))).toBeUndefined()
    const bias = paddingBias(padded([sequence(1), sequence(3)], 0))!
    expect(bias.shape).toEqual([2, 1, 1, 3])
    expect(Array.from(bias.toArray(), Number)).toEqual([0, -Infinity, -Infinity, 0, 0, 0])
  })
})
