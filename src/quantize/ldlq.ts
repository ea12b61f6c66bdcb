/**
 * LDL feedback rounding: columns are rounded from the last to the first, each with what those before it lost.
 *
 *   H = L D L^T, L unit lower            Chee et al. 2023, arXiv:2307.13304, section 3.1
 *   q_i = Q(w_i + sum over j > i of (w_j - q_j) L_ji)
 *
 * This is GPTQ on the columns in reverse (section 3.2), so that the factor is that of `inverse_factor.ts` in this order:
 * with H^-1 = U^T U, q_i = Q(w_i - sum of e_j U_ji) and e_j = (w_j as corrected - q_j) / U_jj. Columns go in blocks; what
 * earlier blocks push onto one is a matrix product. Levels are given, where the column sweep fits its own to each row.
 */
import { matmul, scope, type Tensor, tensor } from '../tensor/index.ts'

/** 2^bits levels of the same distance, from -scale to scale. */
export interface EvenLevels {
  /** 1 to 8. */
  bits: number
  /** 0 or more; with 0 every level is 0. */
  scale: number
}

/** Code and value of the nearest level; between two the higher one. */
export function nearestLevel({
  bits,
  scale,
}: EvenLevels): (value: number) => { code: number; level: number } {
  const top = 2 ** bits - 1
  if (scale === 0) return () => ({ code: 0, level: 0 })
  return (value) => {
    const code = Math.min(top, Math.max(0, Math.round(((value / scale + 1) / 2) * top)))
    return { code, level: (scale * (2 * code - top)) / top }
  }
}

/** Columns of a block. */
const BLOCK = 64

/** Columns from the last to the first. */
export const reversed = (columns: number): Uint32Array =>
  Uint32Array.from({ length: columns }, (_, i) => columns - 1 - i)

/**
 * @param weight f64 [rows, columns]
 * @param factor U transposed, f64 [columns, columns], of the reversed columns; without it each weight goes to its nearest level
 * @returns codes [rows * columns]
 */
export function ldlq(weight: Tensor, levels: EvenLevels, factor?: Tensor): Uint8Array {
  const [rows, columns] = weight.shape as [number, number]
  const nearest = nearestLevel(levels)
  const numbers = weight.toArray() as Float64Array
  if (!factor) return Uint8Array.from(numbers, (value) => nearest(value).code)
  const codes = new Uint8Array(rows * columns)
  const u = factor.toArray() as Float64Array
  // e of each column, in the order of the sweep: [columns, rows].
  const errors = new Float64Array(columns * rows)
  for (let start = 0; start < columns; start += BLOCK) {
    const end = Math.min(columns, start + BLOCK)
    const pushed = pushedOnto(factor, errors.subarray(0, start * rows), [start, end], rows)
    for (let position = start; position < end; position++) {
      const column = columns - 1 - position
      const lost = pushed.subarray((position - start) * rows, (position - start + 1) * rows)
      for (let other = start; other < position; other++) {
        const share = u[position * columns + other]!
        const error = errors.subarray(other * rows, (other + 1) * rows)
        for (let row = 0; row < rows; row++) lost[row]! += share * error[row]!
      }
      const own = u[position * columns + position]!
      for (let row = 0; row < rows; row++) {
        const value = numbers[row * columns + column]! - lost[row]!
        const { code, level } = nearest(value)
        codes[row * columns + column] = code
        errors[position * rows + row] = (value - level) / own
      }
    }
  }
  return codes
}

/** What columns of earlier blocks push onto those of one, [columns of the block, rows]. */
function pushedOnto(
  factor: Tensor,
  errors: Float64Array,
  [start, end]: readonly [number, number],
  rows: number,
): Float64Array {
  if (start === 0) return new Float64Array(end * rows)
  return scope(() => {
    const shares = factor.slice(0, start, end).slice(1, 0, start)
    return matmul(shares, tensor(errors, [start, rows], 'f64')).toArray() as Float64Array
  })
}

/**
 * One pass of coordinate descent over codes, columns from the last to the first: each goes to the level where
 * tr((W - Q) H (W - Q)^T) is least while all others stay, so that it never grows. Changes `codes`; section 3.3 calls it greedy.
 *
 * @param weight f64 [rows, columns]
 * @param hessian f64 [columns, columns], definite
 * @returns codes that changed
 */
export function greedyPass(weight: Tensor, hessian: Tensor, levels: EvenLevels, codes: Uint8Array): number {
  const [rows, columns] = weight.shape as [number, number]
  const nearest = nearestLevel(levels)
  const top = 2 ** levels.bits - 1
  const levelOf = (code: number) => (levels.scale * (2 * code - top)) / top
  const numbers = weight.toArray() as Float64Array
  const h = hessian.toArray() as Float64Array
  // W - Q, [columns, rows]
  const errors = new Float64Array(columns * rows)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      errors[column * rows + row] = numbers[row * columns + column]! - levelOf(codes[row * columns + column]!)
  let changed = 0
  for (let end = columns; end > 0; end -= BLOCK) {
    const start = Math.max(0, end - BLOCK)
    const slopes = scope(
      () =>
        matmul(
          hessian.slice(0, start, end),
          tensor(errors, [columns, rows], 'f64'),
        ).toArray() as Float64Array,
    )
    for (let column = end - 1; column >= start; column--) {
      const own = h[column * columns + column]!
      const slope = slopes.subarray((column - start) * rows, (column - start + 1) * rows)
      for (let row = 0; row < rows; row++) {
        const at = row * columns + column
        const before = numbers[at]! - errors[column * rows + row]!
        const { code, level } = nearest(before + slope[row]! / own)
        if (code === codes[at]) continue
        codes[at] = code
        changed++
        errors[column * rows + row]! -= level - before
        for (let other = start; other < column; other++)
          slopes[(other - start) * rows + row]! -= h[column * columns + other]! * (level - before)
      }
    }
  }
  return changed
}
