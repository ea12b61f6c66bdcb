/**
 * The sweep with a number of levels for each column in plain loops, one row after the other. Choices are made in f64, and
 * what is stored is computed in f32, as its reader does.
 */
import { scope, tensor } from '../tensor/index.ts'

export interface LevelOracleOptions {
  levels: Uint16Array
  centred: boolean
  /** U transposed, [columns, columns] in sweep order; nothing rounds each weight on its own. */
  factor?: Float64Array | undefined
  order?: Uint32Array | undefined
}

const half = (x: number): number => scope(() => tensor([x]).cast('f16').item())
const f32 = Math.fround
function roundEven(x: number): number {
  const floor = Math.floor(x)
  if (x - floor !== 0.5) return Math.round(x)
  return floor % 2 === 0 ? floor : floor + 1
}

/** Codes and values [rows, columns], losses [columns], and how many weights were beyond their range. */
export function oracleLevels(weight: Float64Array, columns: number, options: LevelOracleOptions) {
  const { levels, centred, factor, order } = options
  const codes: number[] = []
  const dense: number[] = []
  const losses = new Float64Array(columns)
  let clipped = 0
  for (let row = 0; row < weight.length / columns; row++) {
    const original = weight.subarray(row * columns, (row + 1) * columns)
    let [low, high] = [half(Math.min(0, ...original)), half(Math.max(0, ...original))]
    if (low === 0 && high === 0) [low, high] = [-1, 1]
    const current = Float64Array.from(original, (_, position) => original[order?.[position] ?? position]!)
    for (let i = 0; i < columns; i++) {
      const column = order?.[i] ?? i
      const count = levels[column]!
      const w = current[i]!
      if (w < low || w > high) clipped++
      let [code, value] = [0, 0]
      if (count === 2 && centred) {
        const middle = f32(f32(low + high) * 0.5)
        const distance = f32(f32(high - low) * 0.125)
        code = w >= middle ? 1 : 0
        value = f32(code ? middle + distance : middle - distance)
      } else if (count > 1) {
        const step = f32(f32(high - low) / (count - 1))
        const zero = roundEven(f32(-low / step))
        code = roundEven(Math.min(count - 1 - zero, Math.max(-zero, w / step))) + zero
        value = f32(step * (code - zero))
      }
      codes[row * columns + column] = code
      dense[row * columns + column] = value
      const d = factor?.[i * columns + i] ?? 1
      const error = (w - value) / d
      losses[column]! += (error * error) / 2
      if (factor) for (let j = i + 1; j < columns; j++) current[j]! -= error * factor[j * columns + i]!
    }
  }
  return { codes, dense, losses, clipped }
}
