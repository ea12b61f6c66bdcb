/** Norms with statistics of channels, channels last: batch norm and group norm. */
import { OptionError, ShapeError } from '../errors.ts'
import { apply, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { elementCount, sameShape, showShape } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { asRows } from './matmul.ts'
import { needSame } from './operand.ts'

interface ChannelNorm {
  name: string
  groups: number
  epsilon: number
}

/** x [samples, rows, channels], weight and bias [channels]; the result, mean and variance [samples, groups]. */
const channelNormOperation: Operation<
  [Tensor, Tensor | undefined, Tensor | undefined],
  ChannelNorm,
  readonly [Tensor, Tensor, Tensor]
> = {
  name: 'channelNorm',
  forward(kernels, [x, weight, bias], { name, groups, epsilon }) {
    checkParameters(name, x, weight, bias)
    const [samples, rows, channels] = x.shape as [number, number, number]
    if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0)
      throw new ShapeError(
        `${name}: ${channels} channels do not divide into ${groups} groups; choose a divisor`,
      )
    if (rows * channels === 0 && samples > 0)
      throw new ShapeError(`${name}: a mean needs at least one value, got ${showShape(x.shape)}`)
    const handles = kernels.channelNorm(x.handle, weight?.handle, bias?.handle, groups, epsilon)
    const wide = x.dtype === 'bf16' ? 'f32' : x.dtype
    const statistics = [samples, groups]
    return [
      new Tensor(kernels, handles[0], x.dtype, x.shape),
      new Tensor(kernels, handles[1], wide, statistics),
      new Tensor(kernels, handles[2], wide, statistics),
    ]
  },
  saves: () => ({ inputs: [0, 1], outputs: [1, 2] }),
  backward({ inputs: [x, weight], output: [, mean, variance], options, gradient, gradients, needs }) {
    if (gradients[1] || gradients[2])
      throw new OptionError(
        `${options.name}: the mean and variance that it returns have no gradient; take x.mean() and x.variance()`,
        { code: 'PARE_E_NO_GRADIENT' },
      )
    const found = apply(channelNormGradientOperation, [x, gradient, weight, mean, variance], options)
    return found.map((part, i) => (needs[i] ? part : undefined))
  },
}

const channelNormGradientOperation: Operation<
  [Tensor, Tensor, Tensor | undefined, Tensor, Tensor],
  ChannelNorm,
  readonly [Tensor, Tensor, Tensor]
> = {
  name: 'channelNormGradient',
  forward(kernels, [x, gradient, weight, mean, variance], { groups, epsilon }) {
    const statistics = { mean: mean.handle, variance: variance.handle }
    const handles = kernels.channelNormGradient(
      x.handle,
      gradient.handle,
      weight?.handle,
      statistics,
      groups,
      epsilon,
    )
    const shapes = [x.shape, x.shape.slice(-1), x.shape.slice(-1)]
    const [dx, dweight, dbias] = handles.map((handle, i) => new Tensor(kernels, handle, x.dtype, shapes[i]!))
    return [dx!, dweight!, dbias!]
  },
}

export interface BatchStatistics {
  output: Tensor
  /** [channels], in f32 for bf16; has no gradient. */
  mean: Tensor
  /** Over n, not n - 1; as `mean`. */
  variance: Tensor
}

/**
 * Batch norm in training: (x - mean) / sqrt(variance + epsilon) * weight + bias with mean and variance of every channel
 * over all of x [.., channels]; weight and bias [channels]. Running statistics are the caller's affair.
 *
 * @throws ShapeError where x is empty.
 * @example const { output, mean, variance } = batchNorm(x, weight, bias, 1e-5)
 */
export function batchNorm(
  x: Tensor,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
  epsilon: number,
): BatchStatistics {
  const channels = channelsOf('batchNorm', x)
  return scope(() => {
    const flat = x.reshape([1, x.size / Math.max(channels, 1), channels])
    const options = { name: 'batchNorm', groups: channels, epsilon }
    const [output, mean, variance] = apply(channelNormOperation, [flat, weight, bias], options)
    return {
      output: output.reshape(x.shape),
      mean: mean.reshape([channels]),
      variance: variance.reshape([channels]),
    }
  })
}

/**
 * Batch norm with given statistics, as in inference or frozen: mean and variance [channels] of x's number type. On the
 * tape it is a scale and a shift, with gradients of all that it is given.
 */
export function batchNormWith(
  x: Tensor,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
  { mean, variance }: { mean: Tensor; variance: Tensor },
  epsilon: number,
): Tensor {
  return scope(() => {
    const root = variance.add(epsilon).rsqrt()
    const scale = weight ? root.mul(weight) : root
    const centre = mean.mul(scale).neg()
    return scaleShift(x, scale, bias ? centre.add(bias) : centre)
  })
}

/**
 * Group norm: every image has a mean and variance for each of `groups` equal groups of neighbouring channels, over all
 * positions. x [batch, .., channels], weight and bias [channels].
 */
export function groupNorm(
  x: Tensor,
  groups: number,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
  epsilon: number,
): Tensor {
  const channels = channelsOf('groupNorm', x)
  if (x.rank < 2) throw new ShapeError(`groupNorm: needs x [batch, .., channels], got ${showShape(x.shape)}`)
  return scope(() => {
    const flat = x.reshape([x.shape[0]!, elementCount(x.shape.slice(1, -1)), channels])
    const options = { name: 'groupNorm', groups, epsilon }
    return apply(channelNormOperation, [flat, weight, bias], options)[0].reshape(x.shape)
  })
}

const scaleShiftOperation: Operation<[Tensor, Tensor, Tensor], object, Tensor> = {
  name: 'scaleShift',
  forward(kernels, [x, scale, shift]) {
    checkParameters('scaleShift', x, scale, shift)
    return new Tensor(kernels, kernels.scaleShift(x.handle, scale.handle, shift.handle), x.dtype, x.shape)
  },
  saves: (needs) => ({ inputs: [...(needs[1] ? [0] : []), ...(needs[0] ? [1] : [])] }),
  backward: ({ inputs: [x, scale], gradient, needs }) => [
    needs[0] ? gradient.mul(scale) : undefined,
    needs[1] ? asRows(gradient.mul(x)).sum(0) : undefined,
    needs[2] ? asRows(gradient).sum(0) : undefined,
  ],
}

/** x [.., channels] * scale [channels] + shift [channels] in one pass. */
export function scaleShift(x: Tensor, scale: Tensor, shift: Tensor): Tensor {
  channelsOf('scaleShift', x)
  return apply(scaleShiftOperation, [x, scale, shift], {})
}

function channelsOf(name: string, x: Tensor): number {
  if (x.rank === 0) throw new ShapeError(`${name}: needs at least one axis`)
  return x.extent(-1)
}

function checkParameters(name: string, x: Tensor, ...parameters: (Tensor | undefined)[]): void {
  needCompute(x, name)
  const shape = x.shape.slice(-1)
  for (const parameter of parameters) {
    if (!parameter) continue
    needSame(name, x, parameter)
    if (!sameShape(parameter.shape, shape))
      throw new ShapeError(
        `${name}: ${shape[0]} channels need a weight and bias of shape ${showShape(shape)}, got ${showShape(parameter.shape)}`,
      )
  }
}
