/** What happens to gradients between the backward pass and the step: norms, clipping, and a look for NaN. */
import { NumericalError, OptionError, printable } from '../tensor/errors.ts'
import { clamp, scope, sumOfSquares, type Tensor } from '../tensor/index.ts'

export interface GradientNorm {
  /** Of all gradients as one vector; f64. */
  readonly norm: number
  /** Paths whose gradient has a NaN or an infinite entry, in order. */
  readonly notFinite: readonly string[]
}

/**
 * The Euclidean norm of all gradients together. Squares are summed in f64, tensor after tensor in the order of the map,
 * so that the bits depend on neither threads nor machine load. A gradient that is not finite does not throw: the caller
 * decides, with `notFinite` in hand, whether to skip the step or to stop.
 *
 * @param scale factor on the gradients, as given to `step`. @default 1
 * @example const { norm, notFinite } = gradientNorm(gradients)
 */
export function gradientNorm(gradients: ReadonlyMap<string, Tensor>, scale = 1): GradientNorm {
  let total = 0
  const notFinite: string[] = []
  for (const [path, gradient] of gradients) {
    const sum = sumOfSquares(gradient)
    // A sum of f64 squares may overflow although every entry is finite.
    if (!Number.isFinite(sum) && !allFinite(gradient)) notFinite.push(path)
    total += sum
  }
  return { norm: Math.sqrt(total) * scale, notFinite }
}

const allFinite = (x: Tensor): boolean => scope(() => x.isFinite().all().item() === 1)

/**
 * The factor that brings a norm down to a limit: min(1, limit / (norm + 1e-6)), as `torch.nn.utils.clip_grad_norm_`
 * (https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html; Pascanu et al. 2013,
 * arXiv:1211.5063, algorithm 1). Steps take it as `scale`, so that no gradient is copied.
 *
 * @param limit above 0
 * @throws OptionError for another limit, NumericalError for a norm that is NaN
 * @example optimiser.step(gradients, { scale: clipFactor(gradientNorm(gradients).norm, 1) })
 */
export function clipFactor(norm: number, limit: number): number {
  checkLimit('clipFactor', limit)
  if (Number.isNaN(norm))
    throw new NumericalError('clipFactor: the norm of the gradients is NaN; skip this step, or stop')
  return Math.min(1, limit / (norm + 1e-6))
}

/**
 * Gradients with every entry in [-limit, limit]; NaN stays.
 *
 * @param limit above 0
 * @example optimiser.step(clipValues(gradients, 0.5))
 */
export function clipValues(gradients: ReadonlyMap<string, Tensor>, limit: number): Map<string, Tensor> {
  checkLimit('clipValues', limit)
  return new Map([...gradients].map(([path, x]) => [path, clamp(x, { min: -limit, max: limit })]))
}

/** The error for gradients that are not finite, with the first few of their names. */
export function notFiniteError(step: number, notFinite: readonly string[], loss?: number): NumericalError {
  const named = notFinite.slice(0, 3).map((path) => printable(path))
  const more = notFinite.length > 3 ? ` and ${notFinite.length - 3} more` : ''
  const found = notFinite.length > 0 ? `the gradient of ${named.join(', ')}${more} is` : 'the loss is'
  const value = loss === undefined ? '' : ` (loss ${loss})`
  return new NumericalError(
    `step ${step}: ${found} not finite${value}; lower the rate, clip the norm, or skip such steps`,
    { code: 'PARE_E_NOT_FINITE', facts: { step, parameters: notFinite } },
  )
}

function checkLimit(what: string, limit: number): void {
  if (!(limit > 0)) throw new OptionError(`${what}: the limit must be above 0, got ${limit}`)
}
