/**
 * The column sweep in plain loops: one row after the other, and every column changes all later ones at once.
 * The order of additions is that of the native kernel, so that f64 results agree in every bit.
 */
import { scope, tensor } from '../tensor/index.ts'
import type { AffineGrid } from './grid.ts'

export interface OracleOptions {
  grid: AffineGrid
  /** U transposed, [columns, columns] in sweep order; nothing rounds each weight on its own. */
  factor?: Float64Array | undefined
  order?: Uint32Array | undefined
  staticGroups?: boolean
}

export interface OracleResult {
  codes: Uint8Array
  scales: Float32Array
  zeros: Uint8Array
  dense: Float64Array
  losses: Float64Array
}

/** Halves go to the even neighbour. */
function roundEven(x: number): number {
  const floor = Math.floor(x)
  if (x - floor !== 0.5) return Math.round(x)
  return floor % 2 === 0 ? floor : floor + 1
}

const half = (x: number): number => scope(() => tensor([x], [1], 'f64').cast('f16').item())

/** Scale and zero of a group, without and with the search for a narrower range. */
export function fitGroup(
  group: readonly number[],
  { bits, symmetric, search, scaleType, zeroLow }: AffineGrid,
) {
  const top = 2 ** bits - 1
  let low = Math.min(0, ...group)
  let high = Math.max(0, ...group)
  if (symmetric) {
    high = Math.max(high, -low)
    low = -high
  }
  if (low === 0 && high === 0) [low, high] = [-1, 1]
  const between = (shrink: number) => {
    const wide = (high * shrink - low * shrink) / top
    const scale = scaleType === 'f32' ? Math.fround(wide) : half(wide)
    const zero = symmetric
      ? (top + 1) / 2
      : Math.min(top, Math.max(zeroLow, roundEven((-low * shrink) / scale)))
    return { scale, zero }
  }
  const error = ({ scale, zero }: { scale: number; zero: number }) =>
    group.reduce((sum, w) => {
      const code = Math.min(top, Math.max(0, roundEven(w / scale) + zero))
      return sum + Math.abs(scale * (code - zero) - w) ** 2.4
    }, 0)
  let best = between(1)
  if (!search) return best
  for (let step = 1; step < 80; step++) {
    const candidate = between(1 - step / 100)
    if (error(candidate) < error(best)) best = candidate
  }
  return best
}

export function oracleSweep(weight: Float64Array, columns: number, options: OracleOptions): OracleResult {
  const { grid, factor, order, staticGroups = false } = options
  const rows = weight.length / columns
  const width = grid.groupSize === 'row' ? columns : Math.min(grid.groupSize, columns)
  const groups = Math.ceil(columns / width)
  const top = 2 ** grid.bits - 1
  const place = (position: number) => order?.[position] ?? position
  const result: OracleResult = {
    codes: new Uint8Array(rows * columns),
    scales: new Float32Array(rows * groups),
    zeros: new Uint8Array(rows * groups),
    dense: new Float64Array(rows * columns),
    losses: new Float64Array(rows),
  }
  for (let row = 0; row < rows; row++) {
    const original = Array.from(weight.subarray(row * columns, (row + 1) * columns))
    /** Current weights by position of the sweep. */
    const current = original.map((_, position) => original[place(position)]!)
    const setGroup = (group: number, values: readonly number[]) => {
      const { scale, zero } = fitGroup(values, grid)
      result.scales[row * groups + group] = scale
      result.zeros[row * groups + group] = zero
    }
    if (staticGroups) for (let g = 0; g < groups; g++) setGroup(g, original.slice(g * width, (g + 1) * width))
    for (let i = 0; i < columns; i++) {
      if (!staticGroups && i % width === 0) setGroup(i / width, current.slice(i, i + width))
      const group = row * groups + Math.floor((staticGroups ? place(i) : i) / width)
      const [scale, zero] = [result.scales[group]!, result.zeros[group]!]
      const level = roundEven(Math.min(top - zero, Math.max(-zero, current[i]! / scale))) + 0 // no negative zero
      const at = row * columns + place(i)
      result.codes[at] = level + zero
      result.dense[at] = scale * level
      if (!factor) continue
      const error = (current[i]! - result.dense[at]!) / factor[i * columns + i]!
      result.losses[row]! += error * error
      for (let j = i + 1; j < columns; j++) current[j]! -= error * factor[j * columns + i]!
    }
    result.losses[row]! *= 0.5
  }
  return result
}
