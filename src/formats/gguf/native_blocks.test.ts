/** The native decoder and encoder against the plain TypeScript of `blocks.ts`. */
import { describe, expect, test } from 'vitest'
import { blockTypeNames, codedTypeNames, isBlockType, typeOfName } from '../../nn/block_types.ts'
import { NumericalError, ShapeError } from '../../tensor/errors.ts'
import { callNative } from '../../tensor/native.ts'
import { mulberry32 } from '../mulberry32.suite.ts'
import { decodeBlocks, levelOf, packBlock, unpackBlock } from './blocks.ts'

/** Uniform numbers below 1 with a seed. */
function uniform(seed: number): () => number {
  const next = mulberry32(seed)
  return () => next() / 2 ** 32
}
function normals(count: number, seed: number): Float32Array {
  const next = uniform(seed)
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(next() + 2 ** -33)) * Math.cos(2 * Math.PI * next()),
  )
}
function decode(type: string, bytes: Uint8Array): Float32Array {
  const { blockLength, blockBytes } = typeOfName(type)!
  const out = new Float32Array((bytes.length / blockBytes) * blockLength)
  callNative((native) => native.blocksDequantize(type, bytes, out))
  return out
}
const encode = (type: string, x: Float32Array, columns: number, importance?: Float32Array) =>
  callNative((native) => native.blocksQuantize(type, x, columns, importance))

test.each(blockTypeNames)('%s: random bytes decode to the same bits as in TypeScript', (type) => {
  const next = uniform(1)
  const bytes = Uint8Array.from({ length: 300 * typeOfName(type)!.blockBytes }, () => 256 * next())
  const [native, plain] = [decode(type, bytes), decodeBlocks(type, bytes)]
  const [nativeBits, plainBits] = [native, plain].map((x) => new Uint32Array(x.buffer))
  for (let i = 0; i < plain.length; i++) {
    if (Number.isNaN(plain[i])) expect(native[i]).toBeNaN()
    else if (nativeBits![i] !== plainBits![i]) expect.unreachable(`${i}: ${native[i]} instead of ${plain[i]}`)
  }
})
describe.each(codedTypeNames)('%s', (type) => {
  const { blockLength, blockBytes } = typeOfName(type)!
  test('native parts of random blocks are those of TypeScript, and pack to the same bytes', () => {
    const next = uniform(2)
    const bytes = Uint8Array.from({ length: 20 * blockBytes }, () => 128 * next())
    // Blocks whose bytes are below 128 hold no NaN: an f16 of 0x7c00 and above is kept out as well.
    for (let i = 0; i < bytes.length; i++) if (bytes[i]! >= 0x7c) bytes[i]! -= 8
    const parts = callNative((native) => native.blocksUnpack(type, bytes))
    for (let block = 0; block < 20; block++) {
      const plain = unpackBlock(type, bytes.subarray(block * blockBytes, (block + 1) * blockBytes))
      const subs = plain.scales.length
      const own = {
        codes: parts.codes.slice(block * blockLength, (block + 1) * blockLength),
        scales: [...parts.scales.subarray(block * subs, (block + 1) * subs)],
        mins: [...parts.mins.subarray(block * subs, (block + 1) * subs)],
        d: parts.d[block]!,
        dmin: parts.dmin[block]!,
      }
      expect(own).toEqual(plain)
      expect(packBlock(type, own)).toEqual(bytes.slice(block * blockBytes, (block + 1) * blockBytes))
    }
  })
  test('every element of an encoded row takes its nearest level', () => {
    const x = normals(4 * 256, 3)
    const parts = callNative((native) => native.blocksUnpack(type, encode(type, x, 512)))
    const subLength = x.length / parts.scales.length
    const levels = Array.from({ length: 2 ** Math.ceil(Math.log2(1 + Math.max(...parts.codes))) }, (_, c) =>
      levelOf(type, c),
    )
    for (let i = 0; i < x.length; i++) {
      const [block, sub] = [Math.floor(i / blockLength), Math.floor(i / subLength)]
      const step = parts.d[block]! * parts.scales[sub]!
      const offset = parts.dmin[block]! * parts.mins[sub]!
      const distances = levels.map((level) => Math.abs(step * level - offset - x[i]!))
      expect(distances[parts.codes[i]!]!).toBeLessThanOrEqual(Math.min(...distances) + 1e-5 * Math.abs(step))
    }
  })
})
test('relative RMS errors on Gaussian weights are those of the reference writers, and fall in order', () => {
  const x = normals(256 * 512, 4)
  const error = (type: string) => {
    const y = decode(type, encode(type, x, 1024))
    const total = x.reduce((sum, v) => sum + v * v, 0)
    return Math.sqrt(x.reduce((sum, v, i) => sum + (v - y[i]!) ** 2, 0) / total)
  }
  const reference = {
    Q2_K: 0.296,
    Q3_K: 0.15,
    Q4_0: 0.085,
    Q4_1: 0.078,
    Q4_K: 0.071,
    Q5_0: 0.042,
    Q5_1: 0.038,
    Q5_K: 0.036,
    Q6_K: 0.0177,
    Q8_0: 0.0053,
  }
  const errors = Object.entries(reference).map(([type, expected]) => {
    const found = error(type)
    expect(found, type).toBeLessThan(1.05 * expected)
    return found
  })
  const [q2, q3, q40, , q4k, q50, , q5k, q6k, q80] = errors
  const order = [q2, q3, q40, q4k, q50, q5k, q6k, q80]
  expect(order).toEqual([...order].sort((a, b) => b! - a!))
  expect(new Set(order).size).toBe(8)
})
test.each(['Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q6_K', 'Q4_K'])(
  '%s: decoding and encoding again barely moves a value',
  (type) => {
    const once = decode(type, encode(type, normals(1024, 5), 256))
    const twice = decode(type, encode(type, once, 256))
    const moved = Math.max(...once.map((v, i) => Math.abs(v - twice[i]!)))
    const step = { Q8_0: 0.04, Q4_0: 0.6, Q4_1: 0.5, Q5_0: 0.3, Q6_K: 0.15, Q4_K: 0.5 }[type]!
    expect(moved).toBeLessThan(step)
  },
)
test.each(['Q8_0', 'Q4_0', 'Q4_1'])('%s: what blocks decode to has the same blocks again', (type) => {
  const once = encode(type, normals(64 * 256, 7), 256)
  expect(encode(type, decode(type, once), 256)).toEqual(once)
})
test('a value that is not finite is named by row and column', () => {
  const x = normals(1024, 6)
  x[300] = Number.NaN
  expect(() => encode('Q4_K', x, 256)).toThrow(NumericalError)
  expect(() => encode('Q4_K', x, 256)).toThrow(/row 1, column 44 is NaN/)
})
test('lengths, types and importances that do not fit are refused', () => {
  expect(() => encode('Q4_K', new Float32Array(128), 128)).toThrow(ShapeError)
  expect(() => encode('Q4_K', new Float32Array(256), 0)).toThrow(ShapeError)
  expect(() => encode('IQ2_XXS', new Float32Array(256), 256)).toThrow(/none that Pare decodes/)
  expect(() => encode('Q8_0', new Float32Array(32), 32, new Float32Array(31))).toThrow(ShapeError)
  expect(() => encode('Q8_0', new Float32Array(32), 32, new Float32Array(32).fill(-1))).toThrow(
    NumericalError,
  )
  const dequantize = (bytes: Uint8Array, out: Float32Array) =>
    callNative((native) => native.blocksDequantize('Q8_0', bytes, out))
  expect(() => dequantize(new Uint8Array(33), new Float32Array(32))).toThrow(ShapeError)
  expect(() => dequantize(new Uint8Array(34), new Float32Array(31))).toThrow(ShapeError)
  const shared = new ArrayBuffer(256)
  expect(() => dequantize(new Uint8Array(shared, 0, 34), new Float32Array(shared, 0, 32))).toThrow(
    /share memory/,
  )
  expect(() => callNative((native) => native.blocksUnpack('F16', new Uint8Array(2)))).toThrow(/no codes/)
  expect(isBlockType('IQ2_XXS')).toBe(false)
})
