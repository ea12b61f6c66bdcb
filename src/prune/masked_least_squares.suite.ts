/**
 * The weights that lose least with a mask, row by row: min (w - v) H (w - v)^T over v that is 0 where pruned.
 *
 *   H_SS v_S = H_SS w_S + H_SP w_P      S: what lives, P: what is pruned
 */
export function rowLeastSquares(weight: Float64Array, mask: Uint8Array, hessian: Float64Array): Float64Array {
  const columns = Math.sqrt(hessian.length)
  const result = new Float64Array(weight.length)
  for (let start = 0; start < weight.length; start += columns) {
    const living = Array.from({ length: columns }, (_, i) => i).filter((i) => mask[start + i])
    const rows = living.map((i) => {
      const target = weight
        .subarray(start, start + columns)
        .reduce((sum, w, j) => sum + hessian[i * columns + j]! * w, 0)
      return [...living.map((j) => hessian[i * columns + j]!), target]
    })
    for (const [i, value] of solve(rows).entries()) result[start + living[i]!] = value
  }
  return result
}

/** Gauss with pivots; each row ends with its right side. */
function solve(rows: number[][]): number[] {
  const n = rows.length
  for (let k = 0; k < n; k++) {
    let best = k
    for (let i = k; i < n; i++) if (Math.abs(rows[i]![k]!) > Math.abs(rows[best]![k]!)) best = i
    ;[rows[k], rows[best]] = [rows[best]!, rows[k]!]
    for (let i = k + 1; i < n; i++) {
      const ratio = rows[i]![k]! / rows[k]![k]!
      for (let j = k; j <= n; j++) rows[i]![j]! -= ratio * rows[k]![j]!
    }
  }
  const found = new Array<number>(n)
  for (let i = n - 1; i >= 0; i--) {
    let rest = rows[i]![n]!
    for (let j = i + 1; j < n; j++) rest -= rows[i]![j]! * found[j]!
    found[i] = rest / rows[i]![i]!
  }
  return found
}
