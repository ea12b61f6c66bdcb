/** Gradients of reductions over the trailing axes. */
import type { ReduceName } from '../kernels.ts'
import type { Operation } from '../operation.ts'
import { elementCount } from '../shape.ts'
import type { Tensor } from '../tensor.ts'

/** x with the reduced axes last, after the first `kept`. */
export type Reduction = Operation<[Tensor], { kept: number }, Tensor>
type Rule = Pick<Reduction, 'saves' | 'backward'>

/** A value for each kept index, beside all that were reduced to it. */
function spread(y: Tensor, x: Tensor): Tensor {
  const ones = x.shape.slice(y.rank).map(() => 1)
  return y.reshape([...y.shape, ...ones]).expand(x.shape)
}

/** What is equal to the result shares the gradient. */
const extreme: Rule = {
  saves: () => ({ inputs: [0], outputs: [0] }),
  backward: ({ inputs: [x], output, gradient, options: { kept } }) => {
    const taken = x.equal(spread(output, x)).cast(x.dtype)
    const count = taken.sum(x.shape.slice(kept).map((_, i) => kept + i))
    return [taken.mul(spread(gradient.div(count), x))]
  },
}

export const reduceGradients: Readonly<Partial<Record<ReduceName, Rule>>> = {
  sum: { backward: ({ inputs: [x], gradient }) => [spread(gradient, x)] },
  mean: {
    backward: ({ inputs: [x], gradient, options: { kept } }) => [
      spread(gradient.div(elementCount(x.shape.slice(kept))), x),
    ],
  },
  max: extreme,
  min: extreme,
  /** The product of all others, which one zero leaves and two do not. */
  prod: {
    saves: () => ({ inputs: [0] }),
    backward: ({ inputs: [x], gradient, options: { kept } }) => {
      const axes = x.shape.slice(kept).map((_, i) => kept + i)
      const zero = x.equal(0)
      const zeros = spread(zero.cast(x.dtype).sum(axes), x)
      const others = zero.where(1, x)
      const product = spread(others.prod(axes), x)
      const slope = zeros.equal(0).where(product.div(others), zero.where(zeros.equal(1).where(product, 0), 0))
      return [spread(gradient, x).mul(slope)]
    },
  },
  logsumexp: {
    saves: () => ({ inputs: [0], outputs: [0] }),
    backward: ({ inputs: [x], output, gradient }) => [
      spread(gradient, x).mul(x.sub(spread(output, x)).exp()),
    ],
  },
}
