/** Thin QR by Householder reflections (Golub and Van Loan, algorithm 5.2.1), the diagonal of r not negative. */
export function qr(a: Float64Array, m: number, n: number): [q: Float64Array, r: Float64Array] {
  const k = Math.min(m, n)
  const work = a.slice()
  const reflectors: Float64Array[] = []
  for (let j = 0; j < k; j++) {
    const v = new Float64Array(m)
    for (let i = j; i < m; i++) v[i] = work[i * n + j]!
    const length = Math.hypot(...v)
    v[j]! += v[j]! < 0 ? -length : length
    reflectors.push(v)
    reflect(work, n, v)
  }
  const q = Float64Array.from({ length: m * k }, (_, i) => Number(Math.floor(i / k) === i % k))
  for (const v of reflectors.reverse()) reflect(q, k, v)
  const r = Float64Array.from({ length: k * n }, (_, i) => (i % n >= Math.floor(i / n) ? work[i]! : 0))
  for (let j = 0; j < k; j++) {
    if (r[j * n + j]! >= 0) continue
    for (let c = 0; c < n; c++) r[j * n + c] = -r[j * n + c]!
    for (let i = 0; i < m; i++) q[i * k + j] = -q[i * k + j]!
  }
  return [q, r]
}

/** x - 2 v (v^T x) / (v^T v), in place on a matrix with `columns` columns. */
function reflect(x: Float64Array, columns: number, v: Float64Array): void {
  const square = v.reduce((sum, entry) => sum + entry * entry, 0)
  if (square === 0) return
  for (let c = 0; c < columns; c++) {
    let dot = 0
    for (let i = 0; i < v.length; i++) dot += v[i]! * x[i * columns + c]!
    for (let i = 0; i < v.length; i++) x[i * columns + c]! -= (2 * dot * v[i]!) / square
  }
}
