/**
 * The factor of the inverse Hessian that the column sweep uses, with the ladder of dampings.
 *
 *   H^-1 = U^T U with U upper. With J the reversal of the order and J H J = L L^T, U = J L^-1 J.
 */
import { NumericalError } from '../tensor/errors.ts'
import { cholesky, scope, type Tensor, tensor, triangularSolve } from '../tensor/index.ts'

/** Shares of the mean diagonal that are tried after the first one failed. */
const ladder = [0.01, 0.1, 1]

export interface InverseFactor {
  /** U transposed, f64 [n, n]: lower, in the order of `order`. */
  factor: Tensor
  /** Share of the mean diagonal that was added. */
  damping: number
  /** Inputs that are always 0; their diagonal was set to 1. */
  dead: number[]
}

/**
 * @param gram f64 [n, n]
 * @param damping share of the mean diagonal that is added first; above 0
 * @param order column of the weight at each position of the sweep
 * @throws NumericalError where even the last step of the ladder has no factor
 */
export function inverseFactor(gram: Tensor, { damping = 0.01, order }: { damping?: number; order?: Uint32Array | undefined } = {}): InverseFactor {
  const n = gram.extent(0)
  const values = gram.toArray() as Float64Array
  const dead: number[] = []
  let sum = 0
  for (let i = 0; i < n; i++) {
    if (values[i * n + i] === 0) {
      dead.push(i)
      values[i * n + i] = 1
    }
    sum += values[i * n + i]!
  }
  const mean = sum / n
  if (!Number.isFinite(mean)) {
    throw new NumericalError('statistics: the inputs of this layer are not finite; the model or its text is damaged', {
      code: 'PARE_E_NOT_FINITE',
    })
  }
  const steps = [damping, ...ladder.filter((step) => step > damping)]
  for (const step of steps) {
    const factor = tryFactor(values, n, step * mean, order)
    if (factor) return { factor, damping: step, dead }
  }
  throw new NumericalError(
    `statistics: the Gram matrix of ${n} inputs has no Cholesky factor even with damping ${steps.at(-1)}; give more or other calibration text, or --on-singular round`,
    { code: 'PARE_E_SINGULAR', facts: { inputs: n, damping: steps.at(-1)! } },
  )
}

function tryFactor(gram: Float64Array, n: number, added: number, order: Uint32Array | undefined): Tensor | undefined {
  return scope(() => {
    // Rows and columns in sweep order, reversed.
    const place = (i: number) => (order ? order[n - 1 - i]! : n - 1 - i)
    const reversed = new Float64Array(n * n)
    for (let i = 0; i < n; i++) {
      const row = place(i) * n
      for (let j = 0; j < n; j++) reversed[i * n + j] = gram[row + place(j)]!
      reversed[i * n + i]! += added
    }
    let lower: Tensor
    try {
      lower = cholesky(tensor(reversed, [n, n], 'f64'))
    } catch (error) {
      if (error instanceof NumericalError) return undefined
      throw error
    }
    const identity = new Float64Array(n * n)
    for (let i = 0; i < n; i++) identity[i * n + i] = 1
    const inverse = triangularSolve(lower, tensor(identity, [n, n], 'f64'), { lower: true })
    const values = inverse.toArray() as Float64Array // L^-1, lower
    // U^T = J (L^-1)^T J: entry (i, j) is L^-1 at (n - 1 - j, n - 1 - i).
    const transposed = new Float64Array(n * n)
    for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) transposed[i * n + j] = values[(n - 1 - j) * n + n - 1 - i]!
    return tensor(transposed, [n, n], 'f64')
  })
}
