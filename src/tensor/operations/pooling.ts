/** Windows of an image folded to one number, channels last; and the way back to larger images. */

import { withKernels } from '../current_kernels.ts'
import { OptionError, ShapeError } from '../errors.ts'
import type { WindowGeometry } from '../kernels.ts'
import { full, tensor } from '../makers.ts'
import { apply, isRecording, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { showShape } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { conv2d } from './convolution.ts'
import { mul } from './elementwise.ts'
import { mean } from './reduce.ts'
import { geometryOf, type Padding, type Pair, pairOf, sizeOver } from './window.ts'

export interface PoolOptions {
  /** @default the kernel */
  stride?: Pair
  /** Narrower than the kernel on every side. @default 0 */
  padding?: Padding
}

interface Pool {
  kernel: readonly [number, number]
  geometry: WindowGeometry
}

/** The result, and where recorded the tap of every largest number. */
const maxPoolOperation: Operation<[Tensor], Pool, readonly Tensor[]> = {
  name: 'maxPool2d',
  forward(kernels, [x], { kernel, geometry }) {
    needCompute(x, 'maxPool2d')
    const size = sizeOver('maxPool2d', x, kernel, geometry)
    const shape = [x.shape[0]!, ...size, x.shape[3]!]
    const [out, positions] = kernels.maxPool(x.handle, kernel, geometry, isRecording())
    const result = [new Tensor(kernels, out!, x.dtype, shape)]
    const small = kernel[0] * kernel[1] <= 256
    if (positions !== undefined) result.push(new Tensor(kernels, positions, small ? 'u8' : 'u32', shape))
    return result
  },
  saves: () => ({ outputs: [1] }),
  backward: ({ inputs: [x], output: [, positions], gradient, options }) => [
    apply(maxPoolGradientOperation, [gradient, positions!], { ...options, size: [x.shape[1]!, x.shape[2]!] }),
  ],
}

const maxPoolGradientOperation: Operation<
  [Tensor, Tensor],
  Pool & { size: readonly [number, number] },
  Tensor
> = {
  name: 'maxPoolGradient',
  forward(kernels, [gradient, positions], { kernel, geometry, size }) {
    const handle = kernels.maxPoolGradient(gradient.handle, positions.handle, size, kernel, geometry)
    return new Tensor(kernels, handle, gradient.dtype, [gradient.shape[0]!, ...size, gradient.shape[3]!])
  },
}

/**
 * The largest number of every window of x [batch, height, width, channels]; padding never wins, NaN does. Of equals the
 * first in row-major order gets the gradient.
 *
 * @example maxPool2d(x, 3, { stride: 2, padding: 1 })
 */
export function maxPool2d(x: Tensor, kernel: Pair, options: PoolOptions = {}): Tensor {
  const pool = poolOf('maxPool2d', kernel, options)
  return scope(() => apply(maxPoolOperation, [x], pool)[0]!)
}

export interface AveragePoolOptions extends PoolOptions {
  /** Whether padding counts as zeros, as PyTorch does; TensorFlow leaves it out. @default false */
  countPadding?: boolean
}

/** The mean of every window of x [batch, height, width, channels]. */
export function averagePool2d(
  x: Tensor,
  kernel: Pair,
  { countPadding = false, ...options }: AveragePoolOptions = {},
): Tensor {
  needCompute(x, 'averagePool2d')
  const { kernel: taps, geometry } = poolOf('averagePool2d', kernel, options)
  const size = sizeOver('averagePool2d', x, taps, geometry)
  const channels = x.shape[3]!
  const { stride, padding } = geometry
  return withKernels(x.kernels, () =>
    scope(() => {
      const even = full([channels, ...taps, 1], 1 / (taps[0] * taps[1]), x.dtype)
      const means = conv2d(x, even, undefined, { stride, padding, groups: channels })
      if (countPadding || padding.every((side) => side === 0)) return means
      const inside = ([0, 1] as const).map((axis) =>
        Array.from({ length: size[axis] }, (_, position) => {
          const first = position * stride[axis] - padding[2 * axis]!
          const last = Math.min(first + taps[axis], x.shape[axis + 1]!)
          return taps[axis] / (last - Math.max(first, 0))
        }),
      )
      const factors = inside[0]!.flatMap((down) => inside[1]!.map((across) => down * across))
      return mul(means, tensor(factors, [...size, 1], x.dtype))
    }),
  )
}

/** The mean of every channel of an image: x [batch, height, width, channels] gives [batch, channels]. */
export function globalAveragePool(x: Tensor): Tensor {
  if (x.rank !== 4)
    throw new ShapeError(
      `globalAveragePool: needs x [batch, height, width, channels], got ${showShape(x.shape)}`,
    )
  return mean(x, [1, 2])
}

/** Every pixel of x [batch, height, width, channels] `factor` times in both directions. */
export function upsampleNearest(x: Tensor, factor: number): Tensor {
  if (x.rank !== 4)
    throw new ShapeError(
      `upsampleNearest: needs x [batch, height, width, channels], got ${showShape(x.shape)}`,
    )
  if (!Number.isInteger(factor) || factor < 1)
    throw new OptionError(`upsampleNearest: the factor needs a whole number from 1 on, got ${factor}`)
  const [batch, height, width, channels] = x.shape as [number, number, number, number]
  return scope(() =>
    x
      .unsqueeze(2)
      .unsqueeze(4)
      .expand([batch, height, factor, width, factor, channels])
      .reshape([batch, height * factor, width * factor, channels]),
  )
}

function poolOf(name: string, kernel: Pair, { stride = kernel, padding = 0 }: PoolOptions): Pool {
  const taps = pairOf(kernel)
  const geometry = geometryOf(name, { stride, padding })
  const narrow = geometry.padding.every((side, i) => side < taps[i >> 1]!)
  if (!taps.every((tap) => Number.isInteger(tap) && tap >= 1) || !narrow)
    throw new OptionError(
      `${name}: needs a kernel from 1 on and padding narrower than it, got [${taps}] and [${geometry.padding}]`,
    )
  return { kernel: taps, geometry }
}
