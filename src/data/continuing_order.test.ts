import { expect, test } from 'vitest'
import { createLoader } from '../optim/loader.ts'
import { scope } from '../tensor/index.ts'
import { continuingOrder } from './continuing_order.ts'
import { tokenWindows } from './token_windows.ts'

test('every row goes on where it was, in every epoch', () => {
  const tokens = Uint32Array.from({ length: 3 * 7 + 2 }, (_, i) => i)
  const windows = tokenWindows(tokens, { length: 3 })
  const loader = createLoader(windows, { batch: 2, dropLast: true, order: continuingOrder(2), epochs: 2 })
  const found = Array.from({ length: 6 }, () =>
    scope(() => {
      const { ids, inputs } = loader.next()!
      return [[...ids], [...(inputs.toArray() as Uint32Array)]]
    }),
  )
  const epoch = [
    [
      [0, 3],
      [0, 1, 2, 9, 10, 11],
    ],
    [
      [1, 4],
      [3, 4, 5, 12, 13, 14],
    ],
    [
      [2, 5],
      [6, 7, 8, 15, 16, 17],
    ],
  ]
  expect(found).toEqual([...epoch, ...epoch])
  expect(loader.next()).toBeUndefined()
})
