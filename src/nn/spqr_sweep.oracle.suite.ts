/**
 * The sweep of SpQR in plain loops: one tile of rows after the other, each weight left out in turn for its own fit, and
 * every column changes all later ones at once. All in f64 but for what is stored, which is rounded to f16 where it is made.
 */
import { scope, tensor } from '../tensor/index.ts'

export interface SpqrOracleOptions {
  bits: number
  groupSize: number
  /** Scales and zeros are codes; f16 scales and offsets otherwise. */
  second?: { scaleBits: number; zeroBits: number; run: number } | undefined
  threshold: number
  leaveOneOut: boolean
  /** U transposed, [columns, columns] in sweep order. */
  factor: Float64Array
  order?: Uint32Array | undefined
}

export interface SpqrOracleResult {
  /** In sweep order. */
  codes: Uint8Array
  /** By row, then by place of the sweep. */
  outliers: { row: number; column: number; value: number }[]
  /** In the order of the weight. */
  dense: Float64Array
  loss: number
}

const half = (x: number): number => scope(() => tensor([x]).cast('f16').item())
function roundEven(x: number): number {
  const floor = Math.floor(x)
  if (x - floor !== 0.5) return Math.round(x)
  return floor % 2 === 0 ? floor : floor + 1
}
const clamp = (x: number, low: number, high: number) => Math.min(high, Math.max(low, x))

/** Scale and zero of a range; equal values reach to 0, and scales have at least 1/1024 of the largest value. */
function plainFit(values: readonly number[], bits: number): { scale: number; zero: number } {
  let [low, high] = [Math.min(...values), Math.max(...values)]
  if (low === high) [low, high] = [Math.min(low, 0), Math.max(high, 0)]
  const scale = Math.max((high - low) / (2 ** bits - 1), Math.max(Math.abs(low), Math.abs(high)) / 1024)
  return scale === 0 ? { scale: 0, zero: 0 } : { scale, zero: -low / scale }
}

/** Values on a grid of their own: what each becomes. */
function secondLevel(values: readonly number[], bits: number): number[] {
  const { scale, zero } = plainFit(values, bits)
  if (scale === 0) return values.map(() => 0)
  const S = half(scale)
  const Z = half((zero * scale) / S)
  return values.map((value) => {
    const code = clamp(roundEven(value / S + Z), 0, 2 ** bits - 1)
    return half(half(code - Z) * S)
  })
}

export function oracleSpqr(
  weight: Float64Array,
  columns: number,
  options: SpqrOracleOptions,
): SpqrOracleResult {
  const { bits, groupSize, second, threshold, leaveOneOut, factor, order } = options
  const rows = weight.length / columns
  const top = 2 ** bits - 1
  const place = (position: number) => order?.[position] ?? position
  const d = (position: number) => factor[position * columns + position]!
  const at = (row: number, position: number) => row * columns + place(position)

  const sensitivity = Array.from({ length: columns }, (_, position) => {
    const column = Array.from({ length: rows }, (_, row) => weight[at(row, position)]!)
    const mean = column.reduce((a, b) => a + b) / rows
    return column.reduce((sum, w) => sum + (w - mean) ** 2, 0) / (rows - 1) / d(position) ** 2
  }).reduce((a, b) => a + b)
  const limit = threshold === Number.POSITIVE_INFINITY ? threshold : (threshold * sensitivity) / columns

  /** The values of a group that are no likely outliers. */
  const likely = (group: readonly number[], start: number): readonly number[] => {
    if (!leaveOneOut || limit === Number.POSITIVE_INFINITY || group.length === 1) return group
    const errorWithout = (absent: number) => {
      const others = group.flatMap((w, i) => (i === absent ? [] : [{ w, d: d(start + i) }]))
      const { scale, zero } = plainFit(
        others.map(({ w }) => w),
        bits,
      )
      return others.reduce((sum, { w, d }) => {
        const code = scale === 0 ? 0 : clamp(roundEven(w / scale + zero), 0, top)
        return sum + ((scale * (code - zero) - w) / d) ** 2
      }, 0)
    }
    const whole = errorWithout(-1)
    const kept = group.filter((_, i) => !(whole - errorWithout(i) > limit))
    return kept.length > 0 ? kept : group
  }

  const result: SpqrOracleResult = {
    codes: new Uint8Array(rows * columns),
    outliers: [],
    dense: new Float64Array(rows * columns),
    loss: 0,
  }
  const tile = second?.run ?? 1
  for (let first = 0; first < rows; first += tile) {
    const current = Array.from({ length: tile }, (_, lane) =>
      Array.from({ length: columns }, (_, position) => weight[at(first + lane, position)]!),
    )
    let grids: { scale: number; zero: number }[] = []
    for (let i = 0; i < columns; i++) {
      if (i % groupSize === 0) {
        const groups = current.map((row) => likely(row.slice(i, i + groupSize), i))
        grids = groups.map((group) => plainFit(group, bits))
        if (second) {
          const scales = secondLevel(
            grids.map(({ scale }) => scale),
            second.scaleBits,
          )
          const zeros = secondLevel(
            grids.map(({ zero }) => zero),
            second.zeroBits,
          )
          grids = grids.map((_, lane) => ({ scale: scales[lane]!, zero: zeros[lane]! }))
        }
        // The zero is an offset.
        else
          grids = grids.map(({ scale }, lane) => ({
            scale: half(scale),
            zero: half(Math.min(...groups[lane]!)),
          }))
      }
      for (const [lane, { scale, zero }] of grids.entries()) {
        const w = current[lane]![i]!
        const row = first + lane
        const code = clamp(roundEven(second ? w / scale + zero : (w - zero) / scale), 0, top)
        let value = second ? half(half(code - zero) * scale) : Math.fround(Math.fround(scale * code) + zero)
        if (((w - value) / d(i)) ** 2 > limit) {
          const residual = half(w - value)
          result.outliers.push({ row, column: i, value: residual })
          value = second ? half(value + residual) : Math.fround(value + residual)
        }
        result.codes[row * columns + i] = code
        result.dense[at(row, i)] = value
        const error = (w - value) / d(i)
        result.loss += error * error * 0.5
        for (let j = i + 1; j < columns; j++) current[lane]![j]! -= error * factor[j * columns + i]!
      }
    }
  }
  result.outliers.sort((a, b) => a.row - b.row || a.column - b.column)
  return result
}
