/** LDL feedback rounding as its equations say it, for small matrices. */
import { type EvenLevels, nearestLevel } from './ldlq.ts'

/** H = L D L^T by elimination from the first column on: L unit lower, row-major. */
export function unitLower(hessian: Float64Array, n: number): Float64Array {
  const rest = hessian.slice()
  const l = new Float64Array(n * n)
  for (let k = 0; k < n; k++) {
    const pivot = rest[k * n + k]!
    for (let i = k; i < n; i++) l[i * n + k] = rest[i * n + k]! / pivot
    for (let i = k + 1; i < n; i++)
      for (let j = k + 1; j < n; j++) rest[i * n + j]! -= l[i * n + k]! * l[j * n + k]! * pivot
  }
  return l
}

/** q_i = Q(w_i + sum over j > i of (w_j - q_j) L_ji), columns from the last to the first. */
export function ldlqOracle(
  weight: Float64Array,
  [rows, columns]: readonly [number, number],
  levels: EvenLevels,
  hessian: Float64Array,
): Uint8Array {
  const l = unitLower(hessian, columns)
  const nearest = nearestLevel(levels)
  const codes = new Uint8Array(rows * columns)
  for (let row = 0; row < rows; row++) {
    const lost = new Float64Array(columns)
    for (let i = columns - 1; i >= 0; i--) {
      let fed = 0
      for (let j = i + 1; j < columns; j++) fed += lost[j]! * l[j * columns + i]!
      const { code, level } = nearest(weight[row * columns + i]! + fed)
      codes[row * columns + i] = code
      lost[i] = weight[row * columns + i]! - level
    }
  }
  return codes
}
