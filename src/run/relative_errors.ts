/** How far compressed weights are from the dense one, on the inputs that were seen. */
import type { Statistics } from '../calibrate/statistics.ts'
import { matmul, scope, sub, type Tensor, tensor } from '../tensor/index.ts'

/**
 * |(W' - W) X|^2 / |W X|^2 of each W' through the Gram matrix of the inputs; through the squares of the inputs alone, as if
 * they did not depend on each other, where no more is known; or |W' - W|^2 / |W|^2 without either or where W X = 0. 0
 * where W' = W. W is [out, in] in f32.
 */
export function relativeErrors(
  dense: Tensor,
  decoded: readonly Tensor[],
  { gram, squares }: Statistics,
): number[] {
  return scope(() => {
    const moments = gram?.cast(dense.dtype)
    const ofWeights = (x: Tensor) => scope(() => x.mul(x).sum().item())
    const weights = squares && tensor(squares, [1, squares.length], dense.dtype)
    const ofOutputs = (x: Tensor) =>
      scope(() => {
        if (moments) return matmul(x, moments).mul(x).sum().item()
        return weights ? x.mul(x).mul(weights).sum().item() : 0
      })
    const outputs = ofOutputs(dense)
    const [energy, whole] = outputs > 0 ? [ofOutputs, outputs] : [ofWeights, ofWeights(dense)]
    return decoded.map((each) => {
      const lost = scope(() => energy(sub(each, dense)))
      return lost === 0 ? 0 : Math.max(0, lost) / whole
    })
  })
}

/** |W X|^2 through the Gram matrix of the inputs. W is [out, in] in f32. */
export function outputEnergy(dense: Tensor, gram: Tensor): number {
  return scope(() => Math.max(0, matmul(dense, gram.cast(dense.dtype)).mul(dense).sum().item()))
}
