/**
 * Random Hadamard rotations, Q = D H / sqrt(n): the signs of D are drawn from a seed, H is a Hadamard matrix. An outlier
 * in one place becomes a small share of every place, and the inverse is the transpose.
 *
 * H is the Kronecker product of a matrix of 2^k rows with a core of K (`hadamard.ts`), so that v Q takes n (k + K)
 * additions.
 */
import { OptionError } from '../tensor/errors.ts'
import { randomStream, scope } from '../tensor/index.ts'
import { hadamardCore, hadamardFactors } from './hadamard.ts'

/** Q = D H / sqrt(n), D random signs of a seed, H a Hadamard matrix of size n. */
export interface Rotation {
  readonly size: number
  readonly seed: number
}

/** Vectors that are rotated side by side. */
const panelWidth = 64

/** Where the vectors stand: element i of vector v is `values[start + i * step + v * apart]`. */
export interface VectorPlaces {
  readonly start: number
  readonly step: number
  readonly apart: number
  readonly count: number
}

/**
 * Turns each vector v into v Q, or into v Q^T, in place.
 *
 * @throws OptionError where no Hadamard matrix of the size is known.
 * @example rotateVectors(values, { size: 576, seed: 0 }, { start: 0, step: 1, apart: 576, count: rows })
 */
export function rotateVectors(
  values: Float64Array,
  rotation: Rotation,
  { start, step, apart, count }: VectorPlaces,
  direction: 'forward' | 'back' = 'forward',
): void {
  const { size } = rotation
  const { core, power } = hadamardFactors(size)
  const signs = signsOf(rotation)
  const entries = hadamardCore(core)
  const scale = 1 / Math.sqrt(size)
  const isBack = direction === 'back'
  const panel = new Float64Array(size * Math.min(panelWidth, count))
  const block = new Float64Array(core > 1 ? core * Math.min(panelWidth, count) : 0)
  for (let first = 0; first < count; first += panelWidth) {
    const width = Math.min(panelWidth, count - first)
    const base = start + first * apart
    for (let i = 0; i < size; i++) {
      const factor = isBack ? scale : scale * signs[i]!
      for (let v = 0; v < width; v++) panel[i * width + v] = factor * values[base + i * step + v * apart]!
    }
    if (core > 1) multiplyCores(panel, block, entries, { core, power, width, isBack })
    for (let half = 1; half < power; half *= 2) butterflies(panel, core * half * width, size * width)
    for (let i = 0; i < size; i++) {
      const factor = isBack ? signs[i]! : 1
      for (let v = 0; v < width; v++) values[base + i * step + v * apart] = factor * panel[i * width + v]!
    }
  }
}

/** The signs of D, of 1 and -1. */
export function signsOf({ size, seed }: Rotation): Int8Array {
  if (!Number.isSafeInteger(seed)) throw new OptionError(`seed: needs a whole number below 2^53, got ${seed}`)
  const bits = scope(() => randomStream(seed, `rotation.${size}`).bits([size]).toArray() as Uint32Array)
  return Int8Array.from(bits, (word) => (word >>> 31 === 1 ? -1 : 1))
}

/** Each run of `core` elements, as a row, times the core, or times its transpose. Cores have a multiple of 4 rows. */
function multiplyCores(
  panel: Float64Array,
  block: Float64Array,
  entries: Int8Array,
  { core, power, width, isBack }: { core: number; power: number; width: number; isBack: boolean },
): void {
  const sign = (row: number, column: number) => entries[isBack ? column * core + row : row * core + column]!
  for (let part = 0; part < power; part++) {
    const at = part * core * width
    for (let column = 0; column < core; column++) {
      const to = column * width
      block.fill(0, to, to + width)
      // Four rows at a time: sums are loaded and stored a quarter as often.
      for (let row = 0; row < core; row += 4) {
        const a = sign(row, column)
        const b = sign(row + 1, column)
        const c = sign(row + 2, column)
        const d = sign(row + 3, column)
        const from = at + row * width
        for (let v = 0; v < width; v++) {
          const i = from + v
          block[to + v]! +=
            a * panel[i]! + b * panel[i + width]! + (c * panel[i + 2 * width]! + d * panel[i + 3 * width]!)
        }
      }
    }
    panel.set(block.subarray(0, core * width), at)
  }
}

/** (a, b) becomes (a + b, a - b) for neighbouring stretches of `stride` numbers. */
function butterflies(panel: Float64Array, stride: number, length: number): void {
  for (let at = 0; at < length; at += 2 * stride)
    for (let i = at; i < at + stride; i++) {
      const a = panel[i]!
      const b = panel[i + stride]!
      panel[i] = a + b
      panel[i + stride] = a - b
    }
}
