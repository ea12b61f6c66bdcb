/** Reductions over any axes. Sums run in a fixed order; bf16 sums in f32 and rounds once. */
import { ShapeError } from '../errors.ts'
import type { ReduceName } from '../kernels.ts'
import { apply, isRecording } from '../operation.ts'
import { scope } from '../scope.ts'
import { elementCount, showShape } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { type Axes, axesOf, toEnd } from './axes.ts'
import { cast, widen } from './cast.ts'
import { abs, div, equal, sqrt, square, sub, where } from './elementwise.ts'
import { needType } from './operand.ts'
import { type Reduction, reduceGradients } from './reduce_gradients.ts'

export interface ReduceOptions {
  /** Leaves reduced axes in place with an extent of 1. @default false */
  keepDims?: boolean
}

/** Reductions that have no value on nothing. */
const needsEntries: readonly ReduceName[] = ['mean', 'max', 'min', 'argmax', 'argmin']

function reduction(name: ReduceName): Reduction {
  const logical = name === 'any' || name === 'all'
  return {
    name,
    forward(kernels, [x], { kept }) {
      if (logical) needType(name, 'the operand', x, 'bool')
      else needCompute(x, name)
      if (needsEntries.includes(name) && x.size === 0 && elementCount(x.shape.slice(kept)) === 0) {
        throw new ShapeError(`${name}: the reduced axes of ${showShape(x.shape)} hold no values`)
      }
      const dtype = name === 'argmax' || name === 'argmin' ? 'u32' : x.dtype
      return new Tensor(kernels, kernels.reduce(name, x.handle, kept), dtype, x.shape.slice(0, kept))
    },
    ...(reduceGradients[name] ?? {}),
  }
}

type Reduce = (x: Tensor, axes?: Axes, options?: ReduceOptions) => Tensor

const reduce =
  (operation: Reduction): Reduce =>
  (x, axes, { keepDims = false } = {}) =>
    scope(() => {
      const reduced = axesOf(axes, x.rank, operation.name)
      const result = apply(operation, [toEnd(x, reduced)], { kept: x.rank - reduced.length })
      return keepDims
        ? result.reshape(x.shape.map((extent, i) => (reduced.includes(i) ? 1 : extent)))
        : result
    })

/** 0 where there is nothing to add. @example sum(x, -1, { keepDims: true }) */
export const sum: Reduce = reduce(reduction('sum'))
export const mean: Reduce = reduce(reduction('mean'))
/** NaN where any entry is NaN, as in `min`. */
export const max: Reduce = reduce(reduction('max'))
export const min: Reduce = reduce(reduction('min'))
/** 1 where there is nothing to multiply. */
export const prod: Reduce = reduce(reduction('prod'))
/** log(sum(exp(x))) without overflow; minus infinity where there is nothing to add. */
export const logsumexp: Reduce = reduce(reduction('logsumexp'))
/** Takes and gives bool. */
export const any: Reduce = reduce(reduction('any'))
/** Takes and gives bool. */
export const all: Reduce = reduce(reduction('all'))

type ReduceIndex = (x: Tensor, axis?: number, options?: ReduceOptions) => Tensor
/** u32 index of the largest entry along an axis, or (no axis) of the flattened tensor; lowest on ties, NaN wins. */
export const argmax: ReduceIndex = reduce(reduction('argmax'))
/** u32 index of the smallest entry; lowest on ties, NaN wins. */
export const argmin: ReduceIndex = reduce(reduction('argmin'))

export interface VarianceOptions extends ReduceOptions {
  /** Subtracted from the count of values in the divisor: 1 for the unbiased estimate. @default 1 */
  correction?: number
}

/** Mean squared distance from the mean. */
export function variance(
  x: Tensor,
  axes?: Axes,
  { correction = 1, keepDims = false }: VarianceOptions = {},
): Tensor {
  return scope(() => {
    const wide = widen(x)
    const reduced = axesOf(axes, x.rank, 'variance')
    const count = reduced.reduce((product, axis) => product * x.shape[axis]!, 1)
    const squares = square(sub(wide, mean(wide, reduced, { keepDims: true })))
    return cast(div(sum(squares, reduced, { keepDims }), count - correction), x.dtype)
  })
}

export interface NormOptions extends ReduceOptions {
  /** 1: sum of magnitudes, 2: Euclidean, Infinity: largest magnitude. @default 2 */
  order?: 1 | 2 | typeof Infinity
}

/** Length of the vectors along the axes. */
export function norm(x: Tensor, axes?: Axes, { order = 2, keepDims = false }: NormOptions = {}): Tensor {
  return scope(() => {
    const wide = widen(x)
    if (order === 2) {
      const squared = sum(square(wide), axes, { keepDims })
      if (!isRecording()) return cast(sqrt(squared), x.dtype)
      // The root has no slope at 0, where the gradient of a length is taken as 0.
      const none = equal(squared, 0)
      return cast(where(none, 0, sqrt(where(none, 1, squared))), x.dtype)
    }
    return cast((order === 1 ? sum : max)(abs(wide), axes, { keepDims }), x.dtype)
  })
}
