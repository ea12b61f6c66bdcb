import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NumericalError, OptionError } from '../../tensor/errors.ts'
import { f16ToNumber, numberToF16 } from '../half.ts'
import {
  dequantizeMatMulNBits,
  type MatMulNBitsLayout,
  matMulBits,
  matMulNBitsPacker,
  packCodes,
  packZeroPoints,
  quantizeMatMulNBits,
  unpackCodes,
  unpackZeroPoints,
} from './matmul_nbits_packing.ts'

const layout = (bits: 2 | 4 | 8, blockSize: number, rows: number, columns: number): MatMulNBitsLayout => ({
  bits,
  blockSize,
  rows,
  columns,
})
const codesOf = (...first: number[]) => Uint8Array.from({ length: 16 }, (_, i) => first[i] ?? 0)

test('4-bit codes 0, 1, 2, 3 are the bytes 0x10 and 0x32', () => {
  expect([...packCodes(codesOf(0, 1, 2, 3), layout(4, 16, 1, 16)).subarray(0, 3)]).toEqual([0x10, 0x32, 0])
  expect([...packCodes(codesOf(1, 0, 3, 2), layout(4, 16, 1, 16)).subarray(0, 2)]).not.toEqual([0x10, 0x32])
  // The same codes as two rows of one block each begin with a block of their own.
  const rows = packCodes(Uint8Array.of(...codesOf(0, 1), ...codesOf(2, 3)), layout(4, 16, 2, 16))
  expect([rows[0], rows[8]]).toEqual([0x10, 0x32])
})
test('2-bit codes 0, 1, 2, 3 are one byte from the lowest bits on, and 8-bit codes are bytes', () => {
  expect(packCodes(codesOf(0, 1, 2, 3), layout(2, 16, 1, 16))[0]).toBe(0b11100100)
  expect(packCodes(codesOf(7, 255), layout(8, 16, 1, 16))).toEqual(codesOf(7, 255))
})
test('zero points of a row of 3 blocks take 2 bytes, and the next row begins a byte', () => {
  const shape = layout(4, 16, 2, 48)
  const packed = packZeroPoints(Uint8Array.of(1, 2, 3, 4, 5, 6), shape)
  expect([...packed]).toEqual([0x21, 0x03, 0x54, 0x06])
  expect([...unpackZeroPoints(packed, shape)]).toEqual([1, 2, 3, 4, 5, 6])
})
test('a symmetric block by hand: the largest magnitude is the code 0, padding stands for 0', () => {
  const shape = layout(4, 16, 1, 3)
  const weights = quantizeMatMulNBits(Float32Array.of(-1, 4, 0.25), shape)
  // s = 4 / -8: -1 is 2 steps above the middle, 0.25 half a step below, which rounds up.
  expect([...weights.scales]).toEqual([-0.5])
  expect([...unpackCodes(weights.codes, shape)]).toEqual([10, 0, 8, ...new Array(13).fill(8)])
  expect(weights.zeroPoints).toBeUndefined()
  expect([...dequantizeMatMulNBits(weights, shape)]).toEqual([-1, 4, -0])
})
test('an asymmetric block by hand: 0 lies in the range also of weights that are all above it', () => {
  const shape = layout(4, 16, 2, 2)
  const weights = quantizeMatMulNBits(Float32Array.of(7.5, 15, -5, 10), shape, { symmetric: false })
  expect([...weights.scales]).toEqual([1, 1])
  expect([...unpackZeroPoints(weights.zeroPoints!, shape)]).toEqual([0, 5])
  expect([...unpackCodes(weights.codes, shape)].slice(0, 3)).toEqual([8, 15, 0])
  expect([...dequantizeMatMulNBits(weights, shape)]).toEqual([8, 15, -5, 10])
})
test('a block of zeros stays zero', () => {
  for (const symmetric of [true, false]) {
    const shape = layout(4, 16, 1, 16)
    const weights = quantizeMatMulNBits(new Float32Array(16), shape, { symmetric })
    expect([...dequantizeMatMulNBits(weights, shape)].every((value) => Math.abs(value) === 0)).toBe(true)
  }
})

const matrices = fc
  .record({
    bits: fc.constantFrom(...matMulBits),
    blockSize: fc.constantFrom(16, 32, 64, 128, 256),
    rows: fc.integer({ min: 1, max: 5 }),
    columns: fc.integer({ min: 1, max: 300 }),
    symmetric: fc.boolean(),
    seed: fc.integer({ min: 1, max: 1e6 }),
  })
  .map(({ seed, symmetric, ...shape }) => ({
    shape,
    symmetric,
    matrix: Float32Array.from({ length: shape.rows * shape.columns }, (_, i) => {
      const x = Math.sin(seed * 12.9898 + i * 78.233) * 43758.5453
      return x - Math.floor(x) - 0.4
    }),
  }))

test('requantising what codes stand for gives the same codes, scales and zero points', () => {
  fc.assert(
    fc.property(matrices, ({ shape, symmetric, matrix }) => {
      const once = quantizeMatMulNBits(matrix, shape, { symmetric })
      const again = quantizeMatMulNBits(dequantizeMatMulNBits(once, shape), shape, { symmetric })
      expect(again.codes).toEqual(once.codes)
      expect(again.zeroPoints).toEqual(once.zeroPoints)
      // (15 - z) s - (0 - z) s is rounded where s is not.
      for (const [i, scale] of again.scales.entries())
        expect(Math.abs(scale - once.scales[i]!)).toBeLessThanOrEqual(2 ** -22 * Math.abs(scale))
    }),
  )
})
test('codes are at most half a step from the weights, but for the end that the zero point cuts', () => {
  fc.assert(
    fc.property(matrices, ({ shape, symmetric, matrix }) => {
      const weights = quantizeMatMulNBits(matrix, shape, { symmetric })
      const decoded = dequantizeMatMulNBits(weights, shape)
      const blocks = Math.ceil(shape.columns / shape.blockSize)
      for (const [i, value] of matrix.entries()) {
        const row = Math.floor(i / shape.columns)
        const block = Math.floor((i % shape.columns) / shape.blockSize)
        const step = Math.abs(weights.scales[row * blocks + block]!)
        // A symmetric grid has one level less on the other side.
        const most = symmetric ? step * 1.001 : step * 0.501
        expect(Math.abs(decoded[i]! - value)).toBeLessThanOrEqual(most)
      }
    }),
  )
})
test('codes and zero points come back from their bytes', () => {
  fc.assert(
    fc.property(matrices, fc.infiniteStream(fc.nat(255)), ({ shape }, stream) => {
      const blocks = Math.ceil(shape.columns / shape.blockSize)
      const draw = (length: number) =>
        Uint8Array.from({ length }, () => (stream.next().value as number) % 2 ** shape.bits)
      const codes = draw(shape.rows * blocks * shape.blockSize)
      const zeros = draw(shape.rows * blocks)
      expect(unpackCodes(packCodes(codes, shape), shape)).toEqual(codes)
      expect(unpackZeroPoints(packZeroPoints(zeros, shape), shape)).toEqual(zeros)
    }),
    { numRuns: 50 },
  )
})
test('blocks that are filled for all rows at once give what a whole matrix gives', () => {
  const shape = layout(4, 16, 3, 40)
  const matrix = Float32Array.from({ length: 120 }, (_, i) => Math.cos(i * i))
  const packer = matMulNBitsPacker(shape, { symmetric: false })
  for (const block of [2, 0, 1]) {
    const width = block === 2 ? 8 : 16
    const tile = Float32Array.from(
      { length: 3 * width },
      (_, i) => matrix[Math.floor(i / width) * 40 + block * 16 + (i % width)]!,
    )
    packer.fill(0, block, tile, width)
  }
  expect(packer.weights).toEqual(quantizeMatMulNBits(matrix, shape, { symmetric: false }))
})
test('codes are chosen for the scale as it is stored', () => {
  const shape = layout(4, 16, 1, 16)
  const matrix = Float32Array.from({ length: 16 }, (_, i) => Math.sin(i))
  const roundScale = (scale: number) => f16ToNumber(numberToF16(scale))
  const weights = quantizeMatMulNBits(matrix, shape, { roundScale })
  const [scale] = weights.scales
  expect(scale).toBe(roundScale(scale!))
  expect([...unpackCodes(weights.codes, shape)]).toEqual(
    Array.from(matrix, (w) => Math.min(15, Math.max(0, Math.floor(w / scale! + 8.5)))),
  )
})
describe('refused', () => {
  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('a weight of %f', (value) => {
    const matrix = new Float32Array(16)
    matrix[7] = value
    for (const symmetric of [true, false])
      expect(() => quantizeMatMulNBits(matrix, layout(4, 16, 1, 16), { symmetric })).toThrow(NumericalError)
  })
  test('blocks of another size, other bits, other lengths, codes without room', () => {
    expect(() => quantizeMatMulNBits(new Float32Array(24), layout(4, 24, 1, 24))).toThrow(/blocks of 16/)
    expect(() => quantizeMatMulNBits(new Float32Array(16), layout(3 as 4, 16, 1, 16))).toThrow(/got 3/)
    expect(() => quantizeMatMulNBits(new Float32Array(15), layout(4, 16, 1, 16))).toThrow(OptionError)
    expect(() => packCodes(codesOf(16), layout(4, 16, 1, 16))).toThrow(/at most 15/)
    expect(() => unpackCodes(new Uint8Array(7), layout(4, 16, 1, 16))).toThrow(OptionError)
  })
})
