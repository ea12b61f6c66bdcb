import { expect, test } from 'vitest'
import { tensor } from '../tensor/index.ts'
import { batchesOf, embedBatch } from './batches.ts'

const sequences = [[1, 2], [3, 4], [5, 6], [7], [8], [9, 10, 11, 12, 13]].map((ids) => Uint32Array.from(ids))

test('neighbours of equal length are stacked up to the limit, and a longer one stands alone', () => {
  expect(batchesOf(sequences, 4).map(({ ids, count, tokens }) => [[...ids], count, tokens])).toEqual([
    [[1, 2, 3, 4], 2, 2],
    [[5, 6], 1, 2],
    [[7, 8], 2, 1],
    [[9, 10, 11, 12, 13], 1, 5],
  ])
  expect(batchesOf([], 4)).toEqual([])
})

test('the embedding of a batch keeps its sequences apart', () => {
  const embed = (ids: Uint32Array) => tensor([...ids], [ids.length, 1])
  expect(embedBatch({ embed }, batchesOf(sequences, 6)[0]!).shape).toEqual([3, 2, 1])
})
