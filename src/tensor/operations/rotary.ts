/** Rotary position embedding (Su et al. 2021, arXiv:2104.09864, section 3.4.2). */
import { ShapeError } from '../errors.ts'
import { apply, type Operation } from '../operation.ts'
import { showShape } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { neg } from './elementwise.ts'
import { needSame, needType } from './operand.ts'

export interface RotaryOptions {
  /** Pairs are neighbours (2j, 2j + 1) instead of halves (j, j + rotated / 2). @default false */
  interleaved?: boolean
}

const rotaryOperation: Operation<[Tensor, Tensor, Tensor], { interleaved: boolean }, Tensor> = {
  name: 'rotary',
  forward(kernels, [x, cos, sin], { interleaved }) {
    needCompute(x, 'rotary')
    needType('rotary', 'cos and sin', cos, 'f32', 'f64')
    needSame('rotary', cos, sin)
    const tokens = x.shape.at(-2)
    const fits = (table: Tensor) =>
      table.rank === 2 && table.shape[0] === tokens && 2 * table.shape[1]! <= x.shape.at(-1)!
    if (x.rank < 2 || !fits(cos) || !fits(sin) || cos.shape[1] !== sin.shape[1]) {
      throw new ShapeError(
        `rotary: x [.., tokens, dim] needs cos and sin [tokens, at most dim / 2], got ${showShape(x.shape)}, ${showShape(cos.shape)} and ${showShape(sin.shape)}`,
      )
    }
    return new Tensor(
      kernels,
      kernels.rotary(x.handle, cos.handle, sin.handle, interleaved),
      x.dtype,
      x.shape,
    )
  },
  saves: () => ({ inputs: [1, 2] }),
  /** The turn back. The tables get no gradient. */
  backward: ({ inputs: [, cos, sin], options, gradient }) => [
    apply(rotaryOperation, [gradient, cos, neg(sin)], options),
    undefined,
    undefined,
  ],
}

/**
 * Turns the pairs of the first `rotated` dimensions of every token by the angles of its position; dimensions past
 * them pass through. x [.., tokens, dim]; cos and sin [tokens, rotated / 2] in f32 or f64, whatever x is. A gradient
 * flows to x alone.
 */
export function rotary(
  x: Tensor,
  cos: Tensor,
  sin: Tensor,
  { interleaved = false }: RotaryOptions = {},
): Tensor {
  return apply(rotaryOperation, [x, cos, sin], { interleaved })
}
