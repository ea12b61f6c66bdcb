import { expect, test } from 'vitest'
import { continuingOrder } from './continuing_order.ts'
import { createLoader } from './loader.ts'

test('every row goes on where it was, in every epoch', () => {
  const windows = { name: 'windows', count: 7, fingerprint: '', batch: (ids: Uint32Array) => ({ ids }) }
  const loader = createLoader(windows, { batch: 2, dropLast: true, order: continuingOrder(2), epochs: 2 })
  const found = Array.from({ length: 6 }, () => [...loader.next()!.ids])
  const epoch = [
    [0, 3],
    [1, 4],
    [2, 5],
  ]
  expect(found).toEqual([...epoch, ...epoch])
  expect(loader.next()).toBeUndefined()
})
