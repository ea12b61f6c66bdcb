/** Matrix products in f64 over row-major arrays. */
import type { Activation } from '../kernels.ts'
import { unary } from './elementwise.ts'

/** a [m, k] times b [k, n]. */
export function product(a: Float64Array, b: Float64Array, m: number, k: number, n: number): Float64Array {
  const out = new Float64Array(m * n)
  for (let i = 0; i < m; i++) {
    for (let l = 0; l < k; l++) {
      const factor = a[i * k + l]!
      for (let j = 0; j < n; j++) out[i * n + j]! += factor * b[l * n + j]!
    }
  }
  return out
}

/** [batch, m, k] times [batch, k, n], then + bias [n], activation, + residual [batch, m, n]. */
export function matmul(
  left: Float64Array,
  right: Float64Array,
  [batch, m, k, n]: [batch: number, m: number, k: number, n: number],
  bias: Float64Array | undefined,
  activation: Activation,
  residual: Float64Array | undefined,
): Float64Array {
  const activate = activation === 'none' ? (x: number) => x : unary[activation]
  const out = new Float64Array(batch * m * n)
  for (let b = 0; b < batch; b++) {
    const a = left.subarray(b * m * k, (b + 1) * m * k)
    out.set(product(a, right.subarray(b * k * n, (b + 1) * k * n), m, k, n), b * m * n)
  }
  return out.map((x, i) => activate(x + (bias?.[i % n] ?? 0)) + (residual?.[i] ?? 0))
}

export function transpose(x: Float64Array, rows: number, columns: number): Float64Array {
  return Float64Array.from(x, (_, i) => x[(i % rows) * columns + Math.floor(i / rows)]!)
}
