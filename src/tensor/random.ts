/**
 * Named streams of random numbers. A stream is a key and a position: block c of the stream is Philox4x32-10 of
 * counter c, four 32-bit words, so that a saved position continues a stream exactly, and the same (seed, name)
 * gives the same bits on every set of kernels and number of threads.
 *
 *   key       first 8 bytes, little-endian, of SHA-256 of the UTF-8 text `${seed}/${name}`
 *   element   word w of block c is word 4c + w; a call begins at the next whole block
 *   uniform   f32 (w >>> 8) 2^-24; f64 ((w0 >>> 5) 2^26 + (w1 >>> 6)) 2^-53, from words 2i and 2i + 1
 *   normal    Box-Muller in f64 on u = (w + 1/2) 2^-32 of words 2i and 2i + 1: sqrt(-2 ln u1) cos(2 pi u2) is
 *             element 2i, the sine element 2i + 1. Mathematical libraries may differ in the last bits of it:
 *             kernels agree within 2 units in the last place of f64, and on all bits of the others.
 */
import { createHash } from 'node:crypto'
import { currentKernels } from './current_kernels.ts'
import type { DType } from './dtype.ts'
import { OptionError, StateError } from './errors.ts'
import { tensor } from './makers.ts'
import { nativeFault } from './native.ts'
import { less } from './operations/elementwise.ts'
import { scope } from './scope.ts'
import { checkShape, elementCount, type Shape } from './shape.ts'
import { Tensor } from './tensor.ts'

/** What a stream needs to go on: JSON can hold it. */
export interface StreamState {
  name: string
  /** 64-bit key, in hexadecimal. */
  key: string
  /** 128-bit blocks used so far, in decimal. */
  position: string
}

export interface RandomStream {
  readonly name: string
  /** Blocks of 128 bits used so far. */
  readonly position: bigint
  /** In [0, 1); f32 or f64. @default f32 */
  uniform(shape: Shape, dtype?: 'f32' | 'f64'): Tensor
  /** Mean 0, variance 1; f32 or f64. @default f32 */
  normal(shape: Shape, dtype?: 'f32' | 'f64'): Tensor
  /** Raw words, u32. */
  bits(shape: Shape): Tensor
  /** bool, true with this probability. */
  bernoulli(probability: number, shape: Shape): Tensor
  /** One whole number from 0 to limit - 1, without bias; limit is at most 2^32. Uses one block a try. */
  integer(limit: number): number
  /** The numbers 0 to count - 1 in random order, u32. */
  permutation(count: number): Tensor
  /** Uses up the blocks of `words` words, for a kernel that draws them itself, now and again later. */
  take(words: number): { key: bigint; counter: bigint }
  state(): StreamState
  /** Continues where `state` was taken. @throws StateError for the state of another stream */
  load(state: StreamState): void
}

let watcher: ((stream: RandomStream) => void) | undefined

/** The streams that `body` draws from, each with its state before. */
export function watchStreams<T>(body: () => T): { value: T; before: ReadonlyMap<RandomStream, StreamState> } {
  const before = new Map<RandomStream, StreamState>()
  const outer = watcher
  watcher = (stream) => {
    if (!before.has(stream)) before.set(stream, stream.state())
    outer?.(stream)
  }
  try {
    return { value: body(), before }
  } finally {
    watcher = outer
  }
}

/** The stream that belongs to a seed and a name. @example randomStream(7, 'dropout').uniform([2, 3]) */
export function randomStream(seed: number | bigint, name: string): RandomStream {
  if (typeof seed === 'number' && !Number.isSafeInteger(seed)) {
    throw new OptionError(`seed: needs a whole number below 2^53 (or a bigint), got ${seed}`)
  }
  const key = createHash('sha256').update(`${seed}/${name}`, 'utf8').digest().readBigUInt64LE(0)
  const keyText = key.toString(16).padStart(16, '0')
  let position = 0n

  const draw = (kind: 'uniform' | 'normal' | 'bits', dtype: DType, shape: Shape, words: number): Tensor => {
    checkShape(shape, `random ${name}`)
    watcher?.(stream)
    const kernels = currentKernels()
    let handle: number
    try {
      handle = kernels.random(kind, dtype, shape, key, position)
    } catch (error) {
      throw nativeFault(error)
    }
    position += BigInt(Math.ceil(words / 4))
    return new Tensor(kernels, handle, dtype, shape)
  }
  const words = (count: number): Uint32Array =>
    scope(() => draw('bits', 'u32', [count], count).toArray() as Uint32Array)

  const stream: RandomStream = {
    name,
    get position() {
      return position
    },
    uniform: (shape, dtype = 'f32') =>
      draw('uniform', dtype, shape, elementCount(shape) * (dtype === 'f64' ? 2 : 1)),
    normal: (shape, dtype = 'f32') => draw('normal', dtype, shape, 2 * Math.ceil(elementCount(shape) / 2)),
    bits: (shape) => draw('bits', 'u32', shape, elementCount(shape)),
    bernoulli(probability, shape) {
      if (!(probability >= 0 && probability <= 1)) {
        throw new OptionError(`bernoulli: the probability must be in [0, 1], got ${probability}`)
      }
      return scope(() => less(this.uniform(shape, 'f64'), probability))
    },
    integer(limit) {
      if (!(Number.isInteger(limit) && limit >= 1 && limit <= 2 ** 32)) {
        throw new OptionError(`integer: the limit must be a whole number from 1 to 2^32, got ${limit}`)
      }
      // Words past the last whole multiple of the limit would favour small numbers.
      const fair = 2 ** 32 - (2 ** 32 % limit)
      for (;;) {
        const found = words(4).find((word) => word < fair)
        if (found !== undefined) return found % limit
      }
    },
    permutation(count) {
      if (!(Number.isInteger(count) && count >= 0 && count <= 2 ** 32)) {
        throw new OptionError(`permutation: needs a whole number from 0 to 2^32, got ${count}`)
      }
      // Sorted by 64-bit keys, of which two are equal with odds of count^2 / 2^65; the index then decides.
      const keys = words(2 * count)
      const order = Uint32Array.from({ length: count }, (_, i) => i)
      order.sort((a, b) => keys[2 * a]! - keys[2 * b]! || keys[2 * a + 1]! - keys[2 * b + 1]! || a - b)
      return tensor(order, [count], 'u32')
    },
    take(count) {
      watcher?.(stream)
      const counter = position
      position += BigInt(Math.ceil(count / 4))
      return { key, counter }
    },
    state: () => ({ name, key: keyText, position: position.toString() }),
    load(state) {
      if (state.name !== name || state.key !== keyText) {
        throw new StateError(`random stream ${name}: the state is that of another seed or stream`)
      }
      if (!/^\d{1,20}$/.test(state.position)) {
        throw new StateError(`random stream ${name}: the position is not a whole number`)
      }
      position = BigInt(state.position)
    },
  }
  return stream
}
