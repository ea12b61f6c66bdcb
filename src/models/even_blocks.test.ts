import { expect, test } from 'vitest'
import { evenBlocks } from './even_blocks.ts'

test('blocks are neighbours of nearly one size', () => {
  expect(evenBlocks(7, 3)).toEqual([
    [0, 2],
    [2, 4],
    [4, 7],
  ])
  expect(evenBlocks(6, 3)).toEqual([
    [0, 3],
    [3, 6],
  ])
})
test('what fits is one block, and nothing is none', () => {
  expect(evenBlocks(3, 3)).toEqual([[0, 3]])
  expect(evenBlocks(3, 100)).toEqual([[0, 3]])
  expect(evenBlocks(0, 3)).toEqual([])
})
test('no block is larger than was asked for, and none is empty', () => {
  for (let count = 1; count < 40; count++)
    for (let most = 1; most < 45; most++)
      for (const [start, end] of evenBlocks(count, most)) {
        expect(end - start).toBeGreaterThan(0)
        expect(end - start).toBeLessThanOrEqual(most)
      }
})
test('a block has a row at least', () => {
  expect(evenBlocks(2, 0.5)).toEqual([
    [0, 1],
    [1, 2],
  ])
})
