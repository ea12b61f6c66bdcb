import { expect, test } from 'vitest'
import { numbersBelow } from '../formats/mulberry32.suite.ts'
import { ShapeError } from '../tensor/errors.ts'
import { scope, tensor } from '../tensor/index.ts'
import { bitmaskBits, decodeBitmask, encodeBitmask, packMask, unpackMask } from './packed_mask.ts'
import { decodeRelativeRows, encodeRelativeRows, relativeRowsBits } from './relative_rows.ts'
import { maskIntersection, measureSparsity } from './sparsity.ts'

function drawn(size: number, keep: number, seed: number) {
  const next = numbersBelow(seed)
  const mask = Uint8Array.from({ length: size }, () => (next(100) < keep ? 1 : 0))
  return { mask, weights: Float32Array.from(mask, (bit) => bit * (next(1000) + 1)) }
}

test('masks are packed with the first entry in the most significant bit, and come back', () => {
  expect([...packMask(Uint8Array.of(1, 0, 1, 0, 0, 0, 0, 1, 0, 1))]).toEqual([0b10100001, 0b01000000])
  for (const size of [0, 1, 7, 8, 9, 1000]) {
    const { mask } = drawn(size, 30, size)
    expect(unpackMask(packMask(mask), size)).toEqual(mask)
  }
  expect(() => unpackMask(new Uint8Array(2), 7)).toThrow(ShapeError)
})
test('bitmask encode/decode round trip is exact; byte counts equal the formulas', () => {
  const { mask, weights } = drawn(1001, 20, 1)
  weights[mask.indexOf(1)] = 0 // kept, and zero by chance
  const stored = encodeBitmask(weights, mask)
  expect(decodeBitmask(stored)).toEqual(weights)
  const kept = mask.reduce((sum, bit) => sum + bit, 0)
  expect(stored.values).toHaveLength(kept)
  expect(bitmaskBits(1001, kept, 32)).toBe(1001 + 32 * kept)
  // At 50% and 8 bits the mask takes another eighth of the dense size.
  expect(bitmaskBits(64, 32, 8) / 8).toBe(64 / 2 + 64 / 8)
  expect(stored.packed.length * 8 - 1001).toBeLessThan(8)
  expect(() => decodeBitmask({ ...stored, values: stored.values.slice(1) })).toThrow(ShapeError)
})
test('a gap above 2^c - 1 takes a filler, and zeros behind the last entry of a row take nothing', () => {
  const weights = [0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5, 6, 0, 0]
  const mask = Uint8Array.from(weights, (w) => (w === 0 ? 0 : 1))
  const stored = encodeRelativeRows(weights, mask, [2, 8], { indexBits: 2 })
  // Row 0: three zeros, a filler in the fourth, then 7. Row 1: the same filler, 5 beside it, then 6.
  expect(stored).toEqual({
    rows: 2,
    columns: 8,
    pointers: Uint32Array.of(0, 2, 5),
    gaps: Uint32Array.of(3, 0, 3, 0, 0),
    values: Float64Array.of(0, 7, 0, 5, 6),
  })
  expect(relativeRowsBits(stored, { valueBits: 32, indexBits: 2 })).toBe(5 * 34 + 3 * 32)
})
test('relative rows come back exactly for every width of gaps', () => {
  for (const indexBits of [1, 2, 4, 5]) {
    const { mask, weights } = drawn(30 * 41, 5, indexBits)
    const stored = encodeRelativeRows(weights, mask, [30, 41], { indexBits })
    expect(Float32Array.from(decodeRelativeRows(stored))).toEqual(weights)
    expect(Math.max(...stored.gaps)).toBeLessThan(2 ** indexBits)
    const bits = relativeRowsBits(stored, { valueBits: 8, indexBits, pointerBits: 16 })
    expect(bits).toBe(stored.values.length * (8 + indexBits) + 31 * 16)
  }
})
test('measured sparsity counts exact zeros by tensor and in all; masks are compared by what they share', () => {
  scope(() => {
    const found = measureSparsity(
      new Map([
        ['w', tensor([0, 1, -0, 2], [2, 2])],
        ['b', tensor([1, 1])],
      ]),
    )
    expect(found).toMatchObject({ size: 6, nonZeros: 4, sparsity: 1 / 3 })
    expect(found.tensors.get('w')).toEqual({ size: 4, nonZeros: 2, sparsity: 0.5 })
  })
  expect(maskIntersection(Uint8Array.of(1, 1, 0, 1), Uint8Array.of(1, 0, 1, 1))).toBe(2 / 3)
  expect(maskIntersection(new Uint8Array(2), Uint8Array.of(1, 1))).toBe(0)
})
