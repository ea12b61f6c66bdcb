/** Slow ways to what EoRA finds in closed form, and layers to find it for. */
import { columnSweep } from '../nn/column_sweep.ts'
import { affineGrid } from '../nn/grid.ts'
import { outputError } from '../nn/synthetic_layer.suite.ts'
import { matmul, qr, randomStream, type Tensor, tensor } from '../tensor/index.ts'

export const gramOf = (x: Tensor) => matmul(x.transpose(), x)
/** |(D - M) X^T| */
export const lost = (error: Tensor, part: Tensor, gram: Tensor) => Math.sqrt(outputError(error, part, gram))

/** Inputs whose Gram matrix has eigenvalues from 1 down to 1 / condition, in a random basis. */
export function correlated({ seed = 0, size = 32, condition = 1e4, tokens = 400 } = {}) {
  const random = randomStream(seed, 'correlated')
  const basis = qr(random.normal([size, size], 'f64')).q
  const spread = Float64Array.from({ length: size }, (_, i) => condition ** (-i / (2 * (size - 1))))
  const inputs = matmul(
    random.normal([tokens, size], 'f64').mul(tensor(spread, [size], 'f64')),
    basis.transpose(),
  )
  const weight = random.normal([size, size], 'f64')
  const rounded = columnSweep(weight, { grid: affineGrid({ bits: 3, groupSize: 'row' }) })
  return { weight, inputs, gram: gramOf(inputs), rounded, error: weight.sub(rounded.dense) }
}

/** A matrix S with S S^T = G, by Cholesky: another root than the method's. */
export function rootOf(gram: Tensor): Tensor {
  const n = gram.extent(0)
  const g = gram.toArray() as Float64Array
  const root = new Float64Array(n * n)
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let sum = g[i * n + j]!
      for (let k = 0; k < j; k++) sum -= root[i * n + k]! * root[j * n + k]!
      root[i * n + j] = i === j ? Math.sqrt(sum) : sum / root[j * n + j]!
    }
  return tensor(root, [n, n], 'f64')
}

/** Eigenvalues of a symmetric matrix by Jacobi rotations, descending: an oracle that shares nothing with the solver. */
export function jacobiEigenvalues(matrix: Tensor): number[] {
  const n = matrix.extent(0)
  const a = Float64Array.from(matrix.toArray() as Float64Array)
  for (let sweep = 0; sweep < 30; sweep++)
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) {
        const apq = a[p * n + q]!
        if (apq === 0) continue
        const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * apq)
        const t = Math.sign(theta || 1) / (Math.abs(theta) + Math.hypot(theta, 1))
        const [c, s] = [1 / Math.hypot(t, 1), t / Math.hypot(t, 1)]
        for (let k = 0; k < n; k++) {
          const [kp, kq] = [a[k * n + p]!, a[k * n + q]!]
          a[k * n + p] = c * kp - s * kq
          a[k * n + q] = s * kp + c * kq
        }
        for (let k = 0; k < n; k++) {
          const [pk, qk] = [a[p * n + k]!, a[q * n + k]!]
          a[p * n + k] = c * pk - s * qk
          a[q * n + k] = s * pk + c * qk
        }
      }
  return Array.from({ length: n }, (_, i) => Math.max(0, a[i * (n + 1)]!)).sort((x, y) => y - x)
}

/** The least |(D - B A) S| that Adam finds from some factors, by gradients worked out by hand. */
export function descend(
  error: Tensor,
  gram: Tensor,
  start: { left: Tensor; right: Tensor },
  steps: number,
): number {
  const moments = [start.left, start.right].map((x) => ({ x, first: x.mul(0), second: x.mul(0) }))
  let least = Number.POSITIVE_INFINITY
  for (let step = 1; step <= steps; step++) {
    const [left, right] = [moments[0]!.x, moments[1]!.x]
    const difference = matmul(matmul(left, right).sub(error), gram)
    least = Math.min(least, lost(error, matmul(left, right), gram))
    const gradients = [matmul(difference, right.transpose()), matmul(left.transpose(), difference)]
    for (const [i, moment] of moments.entries()) {
      const g = gradients[i]!
      moment.first = moment.first.mul(0.9).add(g.mul(0.1))
      moment.second = moment.second.mul(0.999).add(g.square().mul(0.001))
      const up = moment.first.div(1 - 0.9 ** step)
      moment.x = moment.x.sub(
        up
          .div(
            moment.second
              .div(1 - 0.999 ** step)
              .sqrt()
              .add(1e-8),
          )
          .mul(1e-4),
      )
    }
  }
  return least
}
