/**
 * The factor of the inverse Hessian that the column sweep uses, with the ladder of dampings.
 *
 *   H = gram + damping * mean(diag gram) * I,  H^-1 = U^T U with U upper
 *
 * The arithmetic stands in native/src/inverse_factor.rs.
 */
import { codeOf } from '../tensor/dtype.ts'
import { NumericalError } from '../tensor/errors.ts'
import { Tensor, tensor } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'

/** Shares of the mean diagonal that are tried after the first one failed. */
const ladder = [0.01, 0.1, 1]

export interface InverseFactor {
  /** U transposed, [n, n]: lower, in the order of `order`. */
  factor: Tensor
  /** Share of the mean diagonal that was added. */
  damping: number
  /** Inputs that are always 0; their diagonal was set to 1. */
  dead: number[]
}

export interface InverseFactorOptions {
  /** Share of the mean diagonal that is added first; above 0. @default 0.01 */
  damping?: number
  /** Column of the weight at each position of the sweep. @default first to last */
  order?: Uint32Array | undefined
  /** Number type of the factor; the work is done in f64. @default 'f64' */
  dtype?: 'f32' | 'f64'
}

/**
 * @param gram f64 [n, n]
 * @throws NumericalError where the sums are not finite, or even the last step of the ladder has no factor
 */
export function inverseFactor(gram: Tensor, options: InverseFactorOptions = {}): InverseFactor {
  const { damping = 0.01, order, dtype = 'f64' } = options
  const n = gram.extent(0)
  const places = order && tensor(order, [n], 'u32')
  const steps = [damping, ...ladder.filter((step) => step > damping)]
  for (const step of steps) {
    const { factor, dead } = solve(gram, places, step, dtype)
    if (factor !== undefined)
      return { factor: new Tensor(gram.kernels, factor, dtype, [n, n]), damping: step, dead }
  }
  throw new NumericalError(
    `statistics: the Gram matrix of ${n} inputs has no Cholesky factor even with damping ${steps.at(-1)}; give more or other calibration text, or --on-singular round`,
    { code: 'PARE_E_SINGULAR', facts: { inputs: n, damping: steps.at(-1)! } },
  )
}

function solve(gram: Tensor, places: Tensor | undefined, step: number, dtype: 'f32' | 'f64') {
  try {
    return callNative((native) => native.inverseFactor(gram.handle, places?.handle, step, codeOf(dtype)))
  } catch (cause) {
    if (!(cause instanceof NumericalError)) throw cause
    throw new NumericalError(
      'statistics: the inputs of this layer are not finite; the model or its text is damaged',
      {
        code: 'PARE_E_NOT_FINITE',
        cause,
      },
    )
  }
}
