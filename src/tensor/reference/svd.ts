/**
 * Thin SVD by one-sided Jacobi rotations (Golub and Van Loan, section 8.6.3): columns of a tall matrix are turned
 * in pairs until all are orthogonal; their lengths are the singular values.
 */
import { transpose } from './matmul.ts'
import { largestPositive } from './sign.ts'

export function svd(
  a: Float64Array,
  m: number,
  n: number,
): [u: Float64Array, s: Float64Array, vt: Float64Array] {
  if (m < n) {
    const [v, s, ut] = tall(transpose(a, m, n), n, m)
    return signed(transpose(ut, m, m), s, transpose(v, n, m), m, m, n)
  }
  return signed(...tall(a, m, n), m, n, n)
}

function signed(u: Float64Array, s: Float64Array, vt: Float64Array, m: number, k: number, n: number) {
  const signs = largestPositive(u, m, k)
  return [u.map((x, i) => x * signs[i % k]!), s, vt.map((x, i) => x * signs[Math.floor(i / n)]!)] as [
    Float64Array,
    Float64Array,
    Float64Array,
  ]
}

/** m >= n; u [m, n], s [n], vt [n, n]. */
function tall(a: Float64Array, m: number, n: number): [Float64Array, Float64Array, Float64Array] {
  const columns = rowsOf(transpose(a, m, n), m, n)
  const turns = rowsOf(
    Float64Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0)),
    n,
    n,
  )
  for (let sweep = 0, turned = true; turned && sweep < 60; sweep++) {
    turned = false
    for (let i = 0; i < n; i++) {
      for (let j = i + 1; j < n; j++) {
        const [x, y] = [columns[i]!, columns[j]!]
        const [xx, yy, xy] = [dot(x, x), dot(y, y), dot(x, y)]
        if (Math.abs(xy) <= 1e-15 * Math.sqrt(xx * yy)) continue
        turned = true
        const zeta = (yy - xx) / (2 * xy)
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta))
        rotate(x, y, tangent)
        rotate(turns[i]!, turns[j]!, tangent)
      }
    }
  }
  const lengths = columns.map((column) => Math.hypot(...column))
  const order = lengths.map((_, i) => i).sort((i, j) => lengths[j]! - lengths[i]!)
  const s = Float64Array.from(order, (i) => lengths[i]!)
  const vt = Float64Array.from(order.flatMap((i) => [...turns[i]!]))
  return [
    orthonormal(
      order.map((i) => columns[i]!),
      s,
      m,
      n,
    ),
    s,
    vt,
  ]
}

/** Columns divided by their lengths; where a length is 0, any direction that is orthogonal to the others. */
function orthonormal(columns: Float64Array[], s: Float64Array, m: number, n: number): Float64Array {
  const rank = s.filter((length) => length > (s[0] ?? 0) * 1e-14).length
  const found = Array.from({ length: rank }, (_, c) => columns[c]!.map((entry) => entry / s[c]!))
  for (let axis = 0; found.length < n; axis++) {
    let x = Float64Array.from({ length: m }, (_, row) => Number(row === axis))
    for (const q of [...found, ...found]) {
      const along = dot(q, x)
      x = x.map((entry, i) => entry - along * q[i]!)
    }
    const length = Math.hypot(...x)
    // Some axis keeps at least 1 / m of its squared length while directions are missing.
    if (length ** 2 > 0.5 / m) found.push(x.map((entry) => entry / length))
  }
  return transpose(Float64Array.from(found.flatMap((x) => [...x])), n, m)
}

const rowsOf = (x: Float64Array, width: number, count: number) =>
  Array.from({ length: count }, (_, i) => x.slice(i * width, (i + 1) * width))

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!
  return sum
}

function rotate(x: Float64Array, y: Float64Array, tangent: number): void {
  const cosine = 1 / Math.hypot(1, tangent)
  const sine = cosine * tangent
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i]!, y[i]!]
    x[i] = cosine * a - sine * b
    y[i] = sine * a + cosine * b
  }
}
