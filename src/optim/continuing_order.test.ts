import { expect, test } from 'vitest'
import { continuingOrder } from './continuing_order.ts'
import { createLoader } from './loader.ts'

test('rows go on in batches of any size, as the loader says it', () => {
  for (const batch of [1, 2, 3, 5]) {
    const windows = { name: 'windows', count: 17, fingerprint: '', batch: (ids: Uint32Array) => ({ ids }) }
    const loader = createLoader(windows, { batch, dropLast: true, order: continuingOrder, epochs: 1 })
    const found = Array.from({ length: Math.floor(17 / batch) }, () => [...loader.next()!.ids])
    for (const [i, ids] of found.slice(1).entries()) expect(ids).toEqual(found[i]!.map((id) => id + 1))
    expect(loader.next()).toBeUndefined()
  }
})
test('every row goes on where it was, in every epoch', () => {
  const windows = { name: 'windows', count: 7, fingerprint: '', batch: (ids: Uint32Array) => ({ ids }) }
  const loader = createLoader(windows, { batch: 2, dropLast: true, order: continuingOrder, epochs: 2 })
  const found = Array.from({ length: 6 }, () => [...loader.next()!.ids])
  const epoch = [
    [0, 3],
    [1, 4],
    [2, 5],
  ]
  expect(found).toEqual([...epoch, ...epoch])
  expect(loader.next()).toBeUndefined()
})
