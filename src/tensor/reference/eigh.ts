/** Eigenvalues (ascending) and vectors (in columns) of a symmetric matrix by cyclic Jacobi (Golub and Van Loan, 8.5). */
import { transpose } from './matmul.ts'
import { largestPositive } from './sign.ts'

/** Reads the lower triangle. */
export function eigh(matrix: Float64Array, n: number): [values: Float64Array, vectors: Float64Array] {
  const at = (i: number, j: number) => i * n + j
  const a = Float64Array.from(matrix, (_, i) => {
    const [row, column] = [Math.floor(i / n), i % n]
    return matrix[at(Math.max(row, column), Math.min(row, column))]!
  })
  const v = Float64Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0))
  const scale = Math.hypot(...a)
  for (let sweep = 0, turned = true; turned && sweep < 60; sweep++) {
    turned = false
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const off = a[at(p, q)]!
        if (Math.abs(off) <= 1e-17 * scale) continue
        turned = true
        const tau = (a[at(q, q)]! - a[at(p, p)]!) / (2 * off)
        const t = (tau < 0 ? -1 : 1) / (Math.abs(tau) + Math.hypot(1, tau))
        const c = 1 / Math.hypot(1, t)
        const s = c * t
        for (let k = 0; k < n; k++) turn(a, at(k, p), at(k, q), c, s)
        for (let k = 0; k < n; k++) turn(a, at(p, k), at(q, k), c, s)
        for (let k = 0; k < n; k++) turn(v, at(k, p), at(k, q), c, s)
      }
    }
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[at(i, i)]! - a[at(j, j)]!)
  const values = Float64Array.from(order, (i) => a[at(i, i)]!)
  const columns = transpose(v, n, n)
  const sorted = Float64Array.from(order.flatMap((i) => [...columns.subarray(i * n, (i + 1) * n)]))
  const vectors = transpose(sorted, n, n)
  const signs = largestPositive(vectors, n, n)
  return [values, vectors.map((x, i) => x * signs[i % n]!)]
}

function turn(x: Float64Array, i: number, j: number, cosine: number, sine: number): void {
  const [a, b] = [x[i]!, x[j]!]
  x[i] = cosine * a - sine * b
  x[j] = sine * a + cosine * b
}
