import { createHash, Hash } from 'node:crypto'
import { afterEach, expect, test, vi } from 'vitest'
import { updateInSlices } from './hash_slices.ts'

afterEach(() => void vi.restoreAllMocks())

test.each([
  [Uint8Array, 2 ** 31],
  [Uint32Array, 2 ** 29],
  [Uint32Array, 2 ** 29 + 1],
])('data of 2 GiB and more (%o of %i) is hashed in slices that join', (Kind, length) => {
  // Memory that is neither written nor read takes no room.
  const data = new Kind(length)
  let end = 0
  vi.spyOn(Hash.prototype, 'update').mockImplementation(function (this: Hash, part: unknown) {
    if (!ArrayBuffer.isView(part)) return this
    expect(part.byteLength).toBeLessThan(2 ** 31)
    expect(part.buffer === data.buffer).toBe(true)
    expect(part.byteOffset).toBe(end)
    end += part.byteLength
    return this
  })
  updateInSlices(createHash('sha256'), data)
  expect(end).toBe(data.byteLength)
})
