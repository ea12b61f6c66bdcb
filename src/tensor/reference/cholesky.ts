/** Textbook Cholesky, substitution and elimination on row-major n x n matrices in f64. */
import { NumericalError } from '../errors.ts'

/** Lower L with a = L L^T (Golub and Van Loan, algorithm 4.2.1); reads the lower triangle. */
export function cholesky(a: Float64Array, n: number): Float64Array {
  const l = new Float64Array(n * n)
  for (let j = 0; j < n; j++) {
    let pivot = a[j * n + j]!
    for (let k = 0; k < j; k++) pivot -= l[j * n + k]! ** 2
    if (!(pivot > 0 && pivot < Infinity)) {
      throw new NumericalError(
        `cholesky: pivot ${j} of ${n} is not positive (${pivot}); add damping to the diagonal`,
      )
    }
    l[j * n + j] = Math.sqrt(pivot)
    for (let i = j + 1; i < n; i++) {
      let sum = a[i * n + j]!
      for (let k = 0; k < j; k++) sum -= l[i * n + k]! * l[j * n + k]!
      l[i * n + j] = sum / l[j * n + j]!
    }
  }
  return l
}

/** x with op(a) x = b for a triangular a [n, n] and b [n, columns]; only the triangle named is read. */
export function triangularSolve(
  a: Float64Array,
  b: Float64Array,
  n: number,
  { lower, transpose, unit }: { lower: boolean; transpose: boolean; unit: boolean },
): Float64Array {
  const columns = n === 0 ? 0 : b.length / n
  const x = b.slice()
  const entry = (i: number, j: number) => (transpose ? a[j * n + i]! : a[i * n + j]!)
  const forward = lower !== transpose
  for (let step = 0; step < n; step++) {
    const i = forward ? step : n - 1 - step
    if (!unit && entry(i, i) === 0) {
      throw new NumericalError(`triangularSolve: diagonal entry ${i} of ${n} is zero; the matrix is singular`)
    }
    const [from, to] = forward ? [0, i] : [i + 1, n]
    for (let c = 0; c < columns; c++) {
      let sum = x[i * columns + c]!
      for (let j = from; j < to; j++) sum -= entry(i, j) * x[j * columns + c]!
      x[i * columns + c] = unit ? sum : sum / entry(i, i)
    }
  }
  return x
}

const identity = (n: number) => Float64Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0))

/** (L L^T)^-1 */
export function choleskyInverse(factor: Float64Array, n: number): Float64Array {
  const half = triangularSolve(factor, identity(n), n, { lower: true, transpose: false, unit: false })
  return triangularSolve(factor, half, n, { lower: true, transpose: true, unit: false })
}

/** x with a x = b by elimination with row exchanges. */
export function solve(a: Float64Array, b: Float64Array, n: number): Float64Array {
  const columns = n === 0 ? 0 : b.length / n
  const [u, x] = [a.slice(), b.slice()]
  const exchange = (m: Float64Array, width: number, i: number, j: number) => {
    for (let c = 0; c < width; c++) {
      const kept = m[i * width + c]!
      m[i * width + c] = m[j * width + c]!
      m[j * width + c] = kept
    }
  }
  for (let k = 0; k < n; k++) {
    let pivot = k
    for (let i = k + 1; i < n; i++) if (Math.abs(u[i * n + k]!) > Math.abs(u[pivot * n + k]!)) pivot = i
    if (!(Math.abs(u[pivot * n + k]!) > 0)) {
      throw new NumericalError(`solve: column ${k} of ${n} has no pivot; the matrix is singular`)
    }
    exchange(u, n, k, pivot)
    exchange(x, columns, k, pivot)
    for (let i = k + 1; i < n; i++) {
      const factor = u[i * n + k]! / u[k * n + k]!
      for (let j = k; j < n; j++) u[i * n + j]! -= factor * u[k * n + j]!
      for (let c = 0; c < columns; c++) x[i * columns + c]! -= factor * x[k * columns + c]!
    }
  }
  return triangularSolve(u, x, n, { lower: false, transpose: false, unit: false })
}
