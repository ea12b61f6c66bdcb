/** Steps of optimisers as loops over numbers, which change in place. */
import type { AdamStep, SgdStep } from '../kernels.ts'

/** On the line from a (share 0) to b (share 1). */
export const between = (a: number, b: number, share: number): number =>
  share < 0.5 ? a + (b - a) * share : b - (b - a) * (1 - share)

export function sgdStep(
  p: Float64Array,
  m: Float64Array | undefined,
  gradient: Float64Array,
  { rate, scale, decay, momentum, fresh, nesterov }: SgdStep,
): void {
  for (let i = 0; i < p.length; i++) {
    const g = gradient[i]! * scale + decay * p[i]!
    if (m) m[i] = momentum * m[i]! + fresh * g
    const direction = m === undefined ? g : nesterov ? g + momentum * m[i]! : m[i]!
    p[i] = p[i]! - rate * direction
  }
}

export function adamStep(
  p: Float64Array,
  m: Float64Array,
  v: Float64Array,
  gradient: Float64Array,
  { rate, scale, decay, keep, beta1, beta2, correction, epsilon }: AdamStep,
): void {
  for (let i = 0; i < p.length; i++) {
    const kept = p[i]! * keep
    const g = gradient[i]! * scale + decay * kept
    m[i] = between(m[i]!, g, 1 - beta1)
    v[i] = beta2 * v[i]! + (1 - beta2) * g * g
    p[i] = kept - (rate * m[i]!) / (Math.sqrt(v[i]!) / correction + epsilon)
  }
}
