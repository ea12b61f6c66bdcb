import { createHash, Hash } from 'node:crypto'
import { afterEach, expect, test, vi } from 'vitest'
import { fingerprintOf } from './examples.ts'

afterEach(() => void vi.restoreAllMocks())

test('a fingerprint is the SHA-256 of kinds, lengths and contents', () => {
  const content = Buffer.concat([Buffer.from('s3/a,éb2/'), Buffer.from(Uint32Array.of(1, 2).buffer)])
  const all = Buffer.concat([content, Buffer.from('b3/'), Buffer.of(7, 8, 9), Buffer.from('b0/')])
  const parts = ['a,é', Uint32Array.of(1, 2), Uint8Array.of(7, 8, 9), new Uint8Array()]
  expect(fingerprintOf(...parts)).toBe(createHash('sha256').update(all).digest('hex'))
})
test('data of 2 GiB has a fingerprint', () => {
  // Memory that is neither written nor read takes no room.
  const data = new Uint8Array(2 ** 31)
  let bytes = 0
  vi.spyOn(Hash.prototype, 'update').mockImplementation(function (this: Hash, part: unknown) {
    if (!ArrayBuffer.isView(part)) return this
    expect(part.byteLength).toBeLessThan(2 ** 31)
    bytes += part.byteLength
    return this
  })
  fingerprintOf(data)
  expect(bytes).toBe(2 ** 31)
})
