/** How far a compressed weight is from the dense one, on the inputs that were seen. */
import type { Statistics } from '../calibrate/statistics.ts'
import { matmul, scope, sub, type Tensor } from '../tensor/index.ts'

/**
 * |(W' - W) X|^2 / |W X|^2 through the Gram matrix of the inputs, or |W' - W|^2 / |W|^2 without one; 0 where both
 * are 0. W is [out, in] in f32.
 */
export function relativeError(dense: Tensor, decoded: Tensor, { gram }: Statistics): number {
  return scope(() => {
    const energy = (x: Tensor) => (gram ? matmul(x, gram.cast(x.dtype)).mul(x) : x.mul(x)).sum().item()
    const whole = energy(dense)
    const lost = energy(sub(decoded, dense))
    return lost === 0 ? 0 : Math.max(0, lost) / whole
  })
}
