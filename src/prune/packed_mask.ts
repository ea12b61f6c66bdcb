/**
 * Masks at one bit a weight, and weights stored with such a mask.
 *
 *   packed     8 entries a byte in row-major order, the first in the most significant bit, filled up with zeros
 *   bitmask    packed mask of N weights, then the z kept values of b bits: N + z b bits
 */
import { ShapeError } from '../tensor/errors.ts'
import type { Mask } from './mask.ts'

/** @example packMask(Uint8Array.of(1, 0, 1)) // [0b10100000] */
export function packMask(mask: Mask): Uint8Array {
  const packed = new Uint8Array(Math.ceil(mask.length / 8))
  for (let i = 0; i < mask.length; i++) if (mask[i]) packed[i >> 3]! |= 0x80 >> (i & 7)
  return packed
}

/** @throws ShapeError where the bytes are not those of `size` entries */
export function unpackMask(packed: Uint8Array, size: number): Mask {
  if (packed.length !== Math.ceil(size / 8))
    throw new ShapeError(
      `unpackMask: ${size} entries take ${Math.ceil(size / 8)} bytes, got ${packed.length}; give the mask of this tensor`,
    )
  const mask = new Uint8Array(size)
  for (let i = 0; i < size; i++) mask[i] = (packed[i >> 3]! >> (7 - (i & 7))) & 1
  return mask
}

/** Weights with their mask. */
export interface Bitmasked<T extends Float32Array | Float64Array> {
  readonly packed: Uint8Array
  /** Those that are kept, in order. */
  readonly values: T
  readonly size: number
}

/** Drops what the mask drops, whatever stands there. @example decodeBitmask(encodeBitmask(w, mask)) */
export function encodeBitmask<T extends Float32Array | Float64Array>(weights: T, mask: Mask): Bitmasked<T> {
  if (weights.length !== mask.length)
    throw new ShapeError(
      `encodeBitmask: ${weights.length} weights need as many entries of a mask, got ${mask.length}`,
    )
  return { packed: packMask(mask), values: weights.filter((_, i) => mask[i] === 1) as T, size: mask.length }
}

/** All weights, with zeros where the mask drops them. @throws ShapeError where mask and values do not fit */
export function decodeBitmask<T extends Float32Array | Float64Array>({
  packed,
  values,
  size,
}: Bitmasked<T>): T {
  const mask = unpackMask(packed, size)
  const kept = mask.reduce((sum, bit) => sum + bit, 0)
  if (kept !== values.length)
    throw new ShapeError(`decodeBitmask: the mask keeps ${kept} values, got ${values.length}`)
  let next = 0
  const weights = new (values.constructor as new (length: number) => T)(size)
  for (const [i, bit] of mask.entries()) if (bit) weights[i] = values[next++]!
  return weights
}

/** Bits of `size` weights as a bitmask, of which `kept` stay with `valueBits` each. @example bitmaskBits(64, 32, 8) // 320 */
export const bitmaskBits = (size: number, kept: number, valueBits: number): number => size + kept * valueBits
