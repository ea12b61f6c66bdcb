/**
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3): ten rounds
 * of two 32 x 32 bit products turn a 128-bit counter under a 64-bit key into four random words.
 */
import type { DType } from '../dtype.ts'

const word = (value: bigint, index: number) => Number((value >> BigInt(32 * index)) & 0xffffffffn)

/** The four words of one block. */
export function philox(counter: bigint, key: bigint): [number, number, number, number] {
  let [c0, c1, c2, c3] = [word(counter, 0), word(counter, 1), word(counter, 2), word(counter, 3)]
  let [k0, k1] = [word(key, 0), word(key, 1)]
  for (let round = 0; round < 10; round++) {
    const first = 0xd2511f53n * BigInt(c0)
    const second = 0xcd9e8d57n * BigInt(c2)
    c0 = (word(second, 1) ^ c1 ^ k0) >>> 0
    c2 = (word(first, 1) ^ c3 ^ k1) >>> 0
    c1 = word(second, 0)
    c3 = word(first, 0)
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [c0, c1, c2, c3]
}

function words(count: number, key: bigint, counter: bigint): Uint32Array {
  const out = new Uint32Array(Math.ceil(count / 4) * 4)
  for (let block = 0; block * 4 < count; block++) out.set(philox(counter + BigInt(block), key), block * 4)
  return out
}

export function bits(count: number, key: bigint, counter: bigint): Uint32Array {
  return words(count, key, counter).subarray(0, count)
}

/** In [0, 1): f32 takes the 24 upper bits of a word; f64 takes 27 bits of one word and 26 of the next. */
export function uniform(dtype: DType, count: number, key: bigint, counter: bigint): Float64Array {
  if (dtype !== 'f64') return Float64Array.from(bits(count, key, counter), (w) => (w >>> 8) * 2 ** -24)
  const w = words(2 * count, key, counter)
  return Float64Array.from({ length: count }, (_, i) => {
    return ((w[2 * i]! >>> 5) * 2 ** 26 + (w[2 * i + 1]! >>> 6)) * 2 ** -53
  })
}

/** x / (1 - p) where its word is at least floor(p 2^32), 0 elsewhere. */
export function dropout(x: Float64Array, p: number, key: bigint, counter: bigint): Float64Array {
  const words = bits(x.length, key, counter)
  return x.map((value, i) => (words[i]! >= Math.floor(p * 2 ** 32) ? value / (1 - p) : 0))
}

/** Box-Muller on words 2i and 2i + 1: the cosine is element 2i, the sine element 2i + 1. */
export function normal(count: number, key: bigint, counter: bigint): Float64Array {
  const w = words(2 * Math.ceil(count / 2), key, counter)
  return Float64Array.from({ length: count }, (_, i) => {
    const [u1, u2] = [w[i - (i % 2)]!, w[i - (i % 2) + 1]!].map((x) => (x + 0.5) * 2 ** -32) as [
      number,
      number,
    ]
    const radius = Math.sqrt(-2 * Math.log(u1))
    return radius * (i % 2 === 0 ? Math.cos(2 * Math.PI * u2) : Math.sin(2 * Math.PI * u2))
  })
}
