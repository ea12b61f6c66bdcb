/** Hashes of more bytes than one call of Node takes. */
import type { Hash } from 'node:crypto'

/** Elements of one call, which takes fewer than 2^31 bytes. */
const SLICE = 2 ** 28

/** `hash.update(data)` for any length. */
export function updateInSlices(hash: Hash, data: Uint8Array | Uint32Array): void {
  for (let at = 0; at < data.length; at += SLICE) hash.update(data.subarray(at, at + SLICE))
}
