import { expect, test } from 'vitest'
import { scope, tensor } from '#src/tensor/index.ts'
import { sizesOf } from './sizes.ts'

test('a sparse matrix counts as a bitmask and as rows, dense tensors as they are', () => {
  scope(() => {
    const found = sizesOf(
      new Map([
        // Zeros of a bias are no sparsity.
        ['bias', tensor([0, 1])],
        ['full', tensor([1, 2, 3, 4], [2, 2])],
        ['sparse', tensor([0, 0, 0, 5, 0, 0, 0, 0], [2, 4])],
      ]),
    )
    expect(found).toEqual({
      parameters: 14,
      nonZeros: 6,
      measuredSparsity: 7 / 12,
      bytes: {
        dense: (14 * 16) / 8,
        // 8 bits of the mask and one value.
        bitmask: (6 * 16 + 8 + 16) / 8,
        // A gap of 3 needs 2 bits; 3 pointers of 32.
        rows: Math.ceil((6 * 16 + 18 + 3 * 32) / 8),
      },
    })
  })
})
