/**
 * The weighted fit of a block, read slowly and in f64: the oracle of native/src/blocks.
 *
 *   w_i = m_i * sqrt(sigma^2 + x_i^2)      m_i = importance of input i; Q6_K: w_i = m_i
 *   scale, min = least sum of w_i (x_i - scale * l_i - min)^2 over some trial steps, l_i the nearest levels
 *
 * The scales of a super-block are then multiples of d, chosen in the same way with the sums of w as weights.
 */
import type { CodedTypeName } from '../../nn/block_types.ts'
import { f16ToNumber, numberToF16 } from '../half.ts'
import { type BlockParts, levelOf, nonLinearLevels } from './blocks.ts'

interface Shape {
  blockLength: number
  subLength: number
  codes: number
  /** Largest integer scale; nothing where the block has one scale. */
  most?: number
  kind: 'symmetric' | 'affine' | 'table'
}
const small = { blockLength: 32, subLength: 32 }
const large = { blockLength: 256, subLength: 16 }
const shapes: Partial<Record<CodedTypeName, Shape>> = {
  Q4_0: { ...small, codes: 16, kind: 'symmetric' },
  Q5_0: { ...small, codes: 32, kind: 'symmetric' },
  Q4_1: { ...small, codes: 16, kind: 'affine' },
  Q5_1: { ...small, codes: 32, kind: 'affine' },
  IQ4_NL: { ...small, codes: 16, kind: 'table' },
  Q2_K: { ...large, codes: 4, most: 15, kind: 'affine' },
  Q4_K: { ...large, subLength: 32, codes: 16, most: 63, kind: 'affine' },
  Q5_K: { ...large, subLength: 32, codes: 32, most: 63, kind: 'affine' },
  Q6_K: { ...large, codes: 64, most: 128, kind: 'symmetric' },
}
/** Q3_K moves single levels as well, which has no twin here. */
export const weightedTypes = Object.keys(shapes) as CodedTypeName[]

const sum = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0)
const half = (x: number): number => f16ToNumber(numberToF16(x))
const clamp = (x: number, low: number, high: number): number => Math.min(high, Math.max(low, x))
const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i)
const largest = (x: readonly number[]): number => x.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0)

/** Of scales for given levels the least-squares one with the least error; its error is sum of w x^2 less xl^2 / ll. */
function bestScale(
  x: readonly number[],
  w: readonly number[],
  first: number,
  trials: readonly ((value: number) => number)[],
): number {
  let [scale, best] = [first, -1]
  for (const level of trials) {
    const levels = x.map(level)
    const xl = sum(x.map((value, i) => w[i]! * value * levels[i]!))
    const ll = sum(levels.map((l, i) => w[i]! * l * l))
    if (ll > 0 && (xl * xl) / ll > best) [best, scale] = [(xl * xl) / ll, xl / ll]
  }
  return scale
}

function symmetric(x: readonly number[], w: readonly number[], middle: number): number {
  const top = largest(x)
  const trials = range(-9, 9).map((t) => (value: number) => {
    return clamp(Math.round((-(middle + 0.1 * t) / top) * value), -middle, middle - 1)
  })
  return top === 0 ? 0 : bestScale(x, w, top / -middle, trials)
}

function table(x: readonly number[], w: readonly number[]): number {
  const top = largest(x)
  const nearest = (target: number) =>
    nonLinearLevels.reduce((a, b) => (Math.abs(b - target) < Math.abs(a - target) ? b : a))
  const trials = range(-7, 7).map(
    (t) => (value: number) => nearest(((nonLinearLevels[0]! + t) / top) * value),
  )
  return top === 0 ? 0 : bestScale(x, w, top / nonLinearLevels[0]!, trials)
}

function affine(x: readonly number[], w: readonly number[], top: number, signed: boolean): [number, number] {
  const low = signed ? Math.min(...x) : Math.min(0, ...x)
  const high = Math.max(...x)
  if (high <= low) return [0, low]
  const error = ([scale, min]: readonly [number, number]) =>
    sum(x.map((v, i) => w[i]! * (scale * clamp(Math.round((v - min) / scale), 0, top) + min - v) ** 2))
  let best: [number, number] = [(high - low) / top, low]
  let least = error(best)
  for (const trial of range(0, 35)) {
    const levels = x.map((v) =>
      clamp(Math.round(((top - 0.9 + 0.05 * trial) / (high - low)) * (v - low)), 0, top),
    )
    const weighted = (term: (i: number) => number) => sum(x.map((_, i) => w[i]! * term(i)))
    const [sw, sx, sl] = [weighted(() => 1), weighted((i) => x[i]!), weighted((i) => levels[i]!)]
    const [xl, ll] = [weighted((i) => x[i]! * levels[i]!), weighted((i) => levels[i]! ** 2)]
    const determinant = sw * ll - sl * sl
    if (determinant <= 0) continue
    let found: [number, number] = [(sw * xl - sx * sl) / determinant, (ll * sx - sl * xl) / determinant]
    if (found[1] > 0 && !signed) found = [xl / ll, 0]
    if (found[0] > 0 && error(found) < least) [least, best] = [error(found), found]
  }
  return best
}

/** d for numbers from 0 that become its multiples up to `most`. */
function step(values: readonly number[], totals: readonly number[], most: number): number {
  const top = Math.max(...values)
  const trials = range(-4, 4).map((t) => (value: number) => {
    return clamp(Math.round(((most + 0.1 * t) / top) * value), 0, most)
  })
  return top <= 0 ? 0 : bestScale(values, totals, top / most, trials)
}

/** @param row the whole row, over which Q4_0 to Q5_1 take sigma */
export function weightedFit(
  type: CodedTypeName,
  row: readonly number[],
  importance: readonly number[],
  block: number,
): BlockParts {
  const { blockLength, subLength, codes: count, most, kind } = shapes[type]!
  const part = (x: readonly number[]) => x.slice(block * blockLength, (block + 1) * blockLength)
  const x = part(row)
  const square = (values: readonly number[]) => sum(values.map((v) => v * v)) / values.length
  const perRow = most === undefined && kind !== 'table'
  const variance = perRow ? square(row) : (type === 'Q2_K' ? 1 : 2) * square(x)
  const w = part(importance).map((m, i) => (type === 'Q6_K' ? m : m * Math.sqrt(variance + x[i]! ** 2)))
  const subs = range(0, blockLength / subLength - 1)
  const inSub = (values: readonly number[], k: number) => values.slice(k * subLength, (k + 1) * subLength)
  const fits = subs.map((k): [number, number] => {
    const [own, weights] = [inSub(x, k), inSub(w, k)]
    if (kind === 'affine') return affine(own, weights, count - 1, most === undefined)
    return [kind === 'table' ? table(own, weights) : symmetric(own, weights, count / 2), 0]
  })
  const [scales, mins] = [fits.map(([scale]) => scale), fits.map(([, min]) => -min)]
  const totals = subs.map((k) => sum(inSub(w, k)))
  const integers = (values: readonly number[], d: number, low: number, high: number) =>
    values.map((value) => (d === 0 ? 0 : clamp(Math.round(value / d), low, high)))
  let parts: Omit<BlockParts, 'codes'>
  if (most === undefined) parts = { d: half(scales[0]!), dmin: half(mins[0]!), scales: [1], mins: [1] }
  else if (kind === 'symmetric') {
    const d = half(largest(scales) / -most)
    parts = { d, dmin: 0, scales: integers(scales, d, -most, most - 1), mins: subs.map(() => 0) }
  } else {
    const [d, dmin] = [half(step(scales, totals, most)), half(step(mins, totals, most))]
    parts = { d, dmin, scales: integers(scales, d, 0, most), mins: integers(mins, dmin, 0, most) }
  }
  const codes = Uint8Array.from(x, (value, i) => {
    const k = Math.floor(i / subLength)
    const distance = (code: number) =>
      Math.abs(parts.d * parts.scales[k]! * levelOf(type, code) - parts.dmin * parts.mins[k]! - value)
    return range(0, count - 1).reduce((a, b) => (distance(b) < distance(a) ? b : a))
  })
  return { ...parts, codes }
}
