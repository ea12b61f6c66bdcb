import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FormatError, OptionError } from '../tensor/errors.ts'
import { dequantizeMlx, type MlxBits, mlxBits, mlxGroups, packMlx, unpackMlx } from './mlx_packing.ts'

const hex = (words: Uint32Array) => [...words].map((word) => word.toString(16).padStart(8, '0')).join(' ')

/** A row of whole numbers from 0 to 2^b - 1, both of them in each group of 32. */
function wholeRow(bits: number): number[] {
  const levels = 2 ** bits
  const row = Array.from({ length: 64 }, (_, i) => (7 * i + Math.floor(i / 3)) % levels)
  for (const start of [0, 32]) [row[start], row[start + 1]] = [0, levels - 1]
  return row
}

/** What `mlx.core.quantize` of MLX 0.32.4 wrote for these rows; it took the scale -1 and the bias 2^b - 1. */
const written: [MlxBits, string][] = [
  [2, '53e53e53 3e53e53e e53e53e3 53e53e53'],
  [3, 'ad8da247 d8da247f 8da247fa da247f87 a247fad8 247fad8d'],
  [4, 'c3b2910f 1907f6d5 7e5d4b3a c3b2918f 1907f60f 7e5d4b3a c3b2918f 1907f6d5'],
  [5, 'f624c41f 77dba564 6c6a8e40 0fbf8ada e0d72c85 617f981f d22e7a0a c71f3bab a564f624 8e4077db'],
  [
    6,
    'e2a7103f 6f453136 459827bf 6dd3b0ca 120f5de9 723af2e4 37fc603f b4da869c 9eed7d10 c225161f 6765b33e c790073d',
  ],
  [
    8,
    'e9f100ff ccd3dbe2 afb6bdc5 9199a0a7 747b838a 575e656d 3941484f 1c232b32 ' +
      'ff0600ff e1e9f0f7 c4cbd3da a7aeb5bd 8991989f 6c737b82 4f565d65 31394047',
  ],
]

describe.each(written)('%i bits', (bits, words) => {
  const row = wholeRow(bits)
  const codes = Uint8Array.from(row, (value) => 2 ** bits - 1 - value)
  test('codes are packed to the words that MLX wrote', () => {
    expect(hex(packMlx(codes, 1, 64, bits))).toBe(words)
  })
  test('the words that MLX wrote give the weights that it was given', () => {
    const weight = Uint32Array.from(words.split(' '), (word) => Number.parseInt(word, 16))
    const scales = Float32Array.of(-1, -1)
    const biases = new Float32Array(2).fill(2 ** bits - 1)
    const layer = { bits, groupSize: 32, inputs: 64, outputs: 1, weight, scales, biases } as const
    expect([...dequantizeMlx(layer)]).toEqual(row)
    const reversed = weight.map((word) =>
      Number.parseInt(hex(Uint32Array.of(word)).split('').reverse().join(''), 16),
    )
    expect([...dequantizeMlx({ ...layer, weight: reversed })]).not.toEqual(row)
  })
})
test.each(mlxBits)(
  '%i-bit codes come back from rows of any multiple of 32, and code i stands at bit b*i',
  (bits) => {
    const matrices = fc.tuple(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 4 }),
      fc.infiniteStream(fc.nat(2 ** bits - 1)),
    )
    fc.assert(
      fc.property(matrices, ([outputs, blocks, stream]) => {
        const inputs = 32 * blocks
        const codes = Uint8Array.from({ length: outputs * inputs }, () => stream.next().value as number)
        const words = packMlx(codes, outputs, inputs, bits)
        expect(words).toHaveLength((outputs * inputs * bits) / 32)
        expect(unpackMlx(words, outputs, inputs, bits)).toEqual(codes)
        const bitAt = (at: number) => (words[at >>> 5]! >>> (at & 31)) & 1
        const slow = codes.map((_, i) =>
          Array.from({ length: bits }, (_, j) => bitAt(i * bits + j) << j).reduce((a, b) => a + b, 0),
        )
        expect(slow).toEqual(codes)
      }),
      { numRuns: 50 },
    )
  },
)
test('each group has its own scale and bias', () => {
  const weight = packMlx(new Uint8Array(128).fill(3), 2, 64, 4)
  const layer = { bits: 4, groupSize: 32, inputs: 64, outputs: 2, weight } as const
  const scales = Float32Array.of(0.25, 0.5, 1, 2)
  const biases = Float32Array.of(0, 1, -1, -6)
  const weights = dequantizeMlx({ ...layer, scales, biases })
  expect([0, 32, 64, 96].map((i) => weights[i])).toEqual([0.75, 2.5, 2, 0])
  expect([31, 63, 95, 127].map((i) => weights[i])).toEqual([0.75, 2.5, 2, 0])
})
test('an empty matrix has no words', () => {
  expect(packMlx(new Uint8Array(0), 0, 64, 3)).toHaveLength(0)
  expect(unpackMlx(new Uint32Array(0), 0, 64, 3)).toHaveLength(0)
})
test('bits, groups, widths, codes and lengths that do not fit are refused', () => {
  const codes = new Uint8Array(32)
  const refused = expect.objectContaining({ code: 'PARE_E_MLX' })
  for (const wrong of [
    () => packMlx(codes, 1, 32, 7 as MlxBits),
    () => packMlx(new Uint8Array(20), 1, 20, 3),
    () => packMlx(codes, 1, 64, 4),
    () => packMlx(codes.fill(16), 1, 32, 4),
    () => mlxGroups(96, 48),
  ]) {
    expect(wrong).toThrow(OptionError)
    expect(wrong).toThrow(refused)
  }
  const [weight, one, two] = [new Uint32Array(8), new Float32Array(1), new Float32Array(2)]
  const layer = { bits: 4, groupSize: 64, inputs: 64, outputs: 1, weight, scales: one, biases: one } as const
  expect(dequantizeMlx(layer)).toHaveLength(64)
  for (const wrong of [
    () => unpackMlx(new Uint32Array(3), 1, 32, 4),
    () => unpackMlx(new Uint32Array(4), -1, -32, 4),
    () => mlxGroups(96, 64),
    () => dequantizeMlx({ ...layer, scales: two }),
    () => dequantizeMlx({ ...layer, biases: two }),
    () => dequantizeMlx({ ...layer, groupSize: 128 }),
  ]) {
    expect(wrong).toThrow(FormatError)
    expect(wrong).toThrow(refused)
  }
})
