/** Taking a tensor apart along an axis. The parts are views; on the way back their gradients are joined once. */
import { ShapeError } from '../errors.ts'
import { zerosLike } from '../makers.ts'
import { apply, type Operation, unrecorded } from '../operation.ts'
import { scope } from '../scope.ts'
import { normalizeAxis, showShape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import { concat } from './gather.ts'

const splitOperation: Operation<
  readonly [Tensor],
  { axis: number; sizes: readonly number[] },
  readonly Tensor[]
> = {
  name: 'split',
  forward(_, [x], { axis, sizes }) {
    let start = 0
    return unrecorded(() =>
      sizes.map((size) => {
        start += size
        return x.slice(axis, start - size, start)
      }),
    )
  },
  backward: ({ output, options: { axis }, gradients }) => [
    concat(
      gradients.map((gradient, i) => gradient ?? zerosLike(output[i]!)),
      axis,
    ),
  ],
}

/**
 * Neighbouring parts of an axis, of these extents.
 *
 * @throws ShapeError where they do not add up to the extent of the axis.
 * @example const [gate, up] = split(x, [512, 512], -1)
 */
export function split(x: Tensor, sizes: readonly number[], axis = -1): readonly Tensor[] {
  const at = normalizeAxis(axis, x.rank, 'split')
  const sum = sizes.reduce((total, size) => total + size, 0)
  if (!sizes.every((size) => Number.isInteger(size) && size >= 0) || sum !== x.shape[at])
    throw new ShapeError(
      `split: axis ${axis} of ${showShape(x.shape)} needs parts that add up to ${x.shape[at]}, got [${sizes.join(', ')}]`,
    )
  return apply(splitOperation, [x], { axis: at, sizes })
}

/** The entries of an axis, which disappears. @example const steps = unstack(x, 1) // x [batch, tokens, dim] */
export function unstack(x: Tensor, axis = 0): readonly Tensor[] {
  const at = normalizeAxis(axis, x.rank, 'unstack')
  return scope(() => split(x, new Array<number>(x.shape[at]!).fill(1), at).map((part) => part.squeeze(at)))
}
