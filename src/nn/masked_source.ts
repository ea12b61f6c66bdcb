/** A weight seen through a mask: what layers compute with while training changes the weight behind it. */
import { customGradient, linear, scope, type Tensor } from '../tensor/index.ts'
import type { WeightSource } from './weight_source.ts'

export interface MaskedSourceOptions {
  /**
   * The gradient at the masked weight goes on to all of the weight, as if there were no mask (Bengio et al. 2013,
   * arXiv:1308.3432), so that masked entries move too. Else it is zero where the mask is.
   *
   * @default false
   */
  straightThrough?: boolean
}

/**
 * A source whose pruned entries are zeros.
 *
 * @param mask gives a bool tensor of the shape of the parameter, and is asked at each use
 * @example layer.source = maskedSource(layer.source, () => masks.tensor(path), { straightThrough: true })
 */
export function maskedSource(
  inner: WeightSource,
  mask: () => Tensor,
  { straightThrough = false }: MaskedSourceOptions = {},
): WeightSource {
  const dense = () =>
    scope(() => {
      const [weight, kept] = [inner.dense(), mask().reshape(inner.shape)]
      return straightThrough ? throughMask(weight, kept) : kept.where(weight, 0)
    })
  return {
    shape: inner.shape,
    matmul: (x, bias) => scope(() => linear(x, dense(), bias)),
    dense,
    parameters: () => inner.parameters(),
    size() {
      const [out, inputs] = inner.shape
      const { storedBits } = inner.size()
      const kept = scope(() => mask().cast('f64').sum().item())
      const bits = out * inputs + kept * (storedBits / (out * inputs))
      return { informationBits: bits, storedBits: bits }
    },
    resources: () => [inner],
  }
}

const throughMask = customGradient({
  name: 'throughMask',
  forward: ([weight, mask]: readonly [Tensor, Tensor]) => ({ output: mask.where(weight, 0), saved: [] }),
  backward: ({ gradient }) => [gradient, undefined],
})
