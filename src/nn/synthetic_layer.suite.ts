/**
 * A random linear layer with correlated inputs, on which one can see what a method of second order gains:
 *
 *   W ~ N(0, 1 / C)     X = diag(exp(g / 2)) Q diag(k^-d) Q^T Z,   Q a random rotation, k = 1 .. C, Z and g normal, d = 1/2
 */
import {
  cholesky,
  choleskyInverse,
  matmul,
  qr,
  randomStream,
  scope,
  type Tensor,
  tensor,
} from '../tensor/index.ts'

export interface SyntheticLayer {
  /** f64 [rows, columns] */
  weight: Tensor
  /** Inputs, f64 [tokens, columns]. */
  inputs: Tensor
  /** X^T X, f64 [columns, columns] */
  gram: Tensor
}

export interface SyntheticOptions {
  seed?: number
  rows?: number
  columns?: number
  tokens?: number
  /** d: how fast the directions of the inputs fall off. @default 0.5 */
  decay?: number
}

export function syntheticLayer({
  seed = 0,
  rows = 64,
  columns = 64,
  tokens = 2000,
  decay = 0.5,
}: SyntheticOptions = {}): SyntheticLayer {
  return scope(() => {
    const stream = randomStream(seed, 'synthetic layer')
    const weight = stream.normal([rows, columns], 'f64').mul(columns ** -0.5)
    const rotation = qr(stream.normal([columns, columns], 'f64')).q
    const spectrum = tensor(
      Float64Array.from({ length: columns }, (_, k) => (k + 1) ** -decay),
      [columns],
      'f64',
    )
    const scales = stream.normal([columns], 'f64').mul(0.5).exp()
    const mixing = matmul(rotation.mul(spectrum), rotation.transpose())
    const inputs = matmul(stream.normal([tokens, columns], 'f64'), mixing).mul(scales)
    return { weight, inputs, gram: matmul(inputs.transpose(), inputs) }
  })
}

/** |(W - W') X|^2 of a result. */
export function outputError(weight: Tensor, result: Tensor, gram: Tensor): number {
  return scope(() => {
    const lost = weight.cast('f64').sub(result.cast('f64'))
    return matmul(lost, gram).mul(lost).sum().item()
  })
}

/** H = X^T X + damping * mean(diag) * I, as plain numbers row by row. */
export function dampedHessian(gram: Tensor, damping: number): Float64Array {
  const n = gram.extent(0)
  const values = Float64Array.from(gram.toArray() as Float64Array)
  let trace = 0
  for (let i = 0; i < n; i++) trace += values[i * n + i]!
  for (let i = 0; i < n; i++) values[i * n + i]! += (damping * trace) / n
  return values
}

/** U transposed in sweep order, by way of the inverse itself: H^-1 = L L^T and U = L^T. */
export function sweepFactor(hessian: Float64Array, order?: Uint32Array): Tensor {
  const n = Math.sqrt(hessian.length)
  const place = (i: number) => order?.[i] ?? i
  const sorted = Float64Array.from(
    hessian,
    (_, at) => hessian[place(Math.floor(at / n)) * n + place(at % n)]!,
  )
  return scope(() => cholesky(choleskyInverse(cholesky(tensor(sorted, [n, n], 'f64')))))
}
