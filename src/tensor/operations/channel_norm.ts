/** Norms with statistics of channels, channels last: batch norm and group norm. */
import { OptionError, ShapeError } from '../errors.ts'
import { apply, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { elementCount, sameShape, showShape } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { relu } from './elementwise.ts'
import { isExplicit } from './explicit.ts'
import { asRows } from './matmul.ts'
import { needSame } from './operand.ts'

interface ChannelNorm {
  name: string
  groups: number
  epsilon: number
  relu: boolean
}

/**
 * x and residual [samples, rows, channels], weight and bias [channels]; the result, mean and variance [samples, groups].
 */
const channelNormOperation: Operation<
  [Tensor, Tensor | undefined, Tensor | undefined, Tensor | undefined],
  ChannelNorm,
  readonly [Tensor, Tensor, Tensor]
> = {
  name: 'channelNorm',
  forward(kernels, [x, weight, bias, residual], { name, groups, epsilon, relu }) {
    checkParameters(name, x, weight, bias)
    const [samples, rows, channels] = x.shape as [number, number, number]
    if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0)
      throw new ShapeError(
        `${name}: ${channels} channels do not divide into ${groups} groups; choose a divisor`,
      )
    if (rows * channels === 0 && samples > 0)
      throw new ShapeError(`${name}: a mean needs at least one value, got ${showShape(x.shape)}`)
    const ending = { residual: residual?.handle, relu }
    const handles = kernels.channelNorm(x.handle, weight?.handle, bias?.handle, ending, groups, epsilon)
    const wide = x.dtype === 'bf16' ? 'f32' : x.dtype
    const statistics = [samples, groups]
    return [
      new Tensor(kernels, handles[0], x.dtype, x.shape),
      new Tensor(kernels, handles[1], wide, statistics),
      new Tensor(kernels, handles[2], wide, statistics),
    ]
  },
  saves: (_needs, { relu }) => ({ inputs: [0, 1], outputs: relu ? [0, 1, 2] : [1, 2] }),
  backward({ inputs: [x, weight], output: [out, mean, variance], options, gradient, gradients, needs }) {
    if (gradients[1] || gradients[2])
      throw new OptionError(
        `${options.name}: the mean and variance that it returns have no gradient; take x.mean() and x.variance()`,
        { code: 'PARE_E_NO_GRADIENT' },
      )
    const floored = options.relu ? out : undefined
    const inputs = [x, gradient, weight, mean, variance, floored] as const
    const found = apply(channelNormGradientOperation, [...inputs], { ...options, ofSum: needs[3] === true })
    return needs.map((need, i) => (need ? found[i] : undefined))
  },
}

/** Gradients of x, weight and bias, and with `ofSum` that of the residual. */
const channelNormGradientOperation: Operation<
  [Tensor, Tensor, Tensor | undefined, Tensor, Tensor, Tensor | undefined],
  ChannelNorm & { ofSum: boolean },
  readonly Tensor[]
> = {
  name: 'channelNormGradient',
  forward(kernels, [x, gradient, weight, mean, variance, floored], { groups, epsilon, ofSum }) {
    const found = { mean: mean.handle, variance: variance.handle, floored: floored?.handle }
    const handles = kernels.channelNormGradient(
      x.handle,
      gradient.handle,
      weight?.handle,
      found,
      ofSum,
      groups,
      epsilon,
    )
    const shapes = [x.shape, x.shape.slice(-1), x.shape.slice(-1), x.shape]
    return handles.map((handle, i) => new Tensor(kernels, handle, x.dtype, shapes[i]!))
  },
}

export interface BatchStatistics {
  output: Tensor
  /** [channels], in f32 for bf16; has no gradient. */
  mean: Tensor
  /** Over n, not n - 1; as `mean`. */
  variance: Tensor
}

/** What follows a norm of channels in the same pass. */
export interface NormEnding {
  /** Of the shape and type of x; added to the norm. @default nothing */
  residual?: Tensor | undefined
  /** What happens to the norm, or to its sum with the residual. @default 'none' */
  activation?: 'none' | 'relu'
}

/**
 * Batch norm in training: (x - mean) / sqrt(variance + epsilon) * weight + bias with mean and variance of every channel
 * over all of x [.., channels]; weight and bias [channels]. Running statistics are the caller's affair.
 *
 * @throws ShapeError where x is empty, or the residual has another shape.
 * @example const { output, mean, variance } = batchNorm(x, weight, bias, 1e-5, { activation: 'relu' })
 */
export function batchNorm(
  x: Tensor,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
  epsilon: number,
  { residual, activation = 'none' }: NormEnding = {},
): BatchStatistics {
  const channels = channelsOf('batchNorm', x)
  if (residual) checkResidual(x, residual)
  return scope(() => {
    const shape = [1, x.size / Math.max(channels, 1), channels]
    const [flat, added] = [x.reshape(shape), residual?.reshape(shape)]
    const explicit = isExplicit()
    const options = { name: 'batchNorm', groups: channels, epsilon, relu: activation === 'relu' && !explicit }
    const inputs = [flat, weight, bias, explicit ? undefined : added] as const
    const [norm, mean, variance] = apply(channelNormOperation, [...inputs], options)
    const output = explicit ? ended(norm, { residual: added, activation }) : norm
    return {
      output: output.reshape(x.shape),
      mean: mean.reshape([channels]),
      variance: variance.reshape([channels]),
    }
  })
}

function ended(norm: Tensor, { residual, activation }: NormEnding): Tensor {
  const sum = residual ? norm.add(residual) : norm
  return activation === 'relu' ? relu(sum) : sum
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
  ending: NormEnding = {},
): Tensor {
  if (ending.residual) checkResidual(x, ending.residual)
  return scope(() => {
    const root = variance.add(epsilon).rsqrt()
    const scale = weight ? root.mul(weight) : root
    const centre = mean.mul(scale).neg()
    return ended(scaleShift(x, scale, bias ? centre.add(bias) : centre), ending)
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
    const options = { name: 'groupNorm', groups, epsilon, relu: false }
    return apply(channelNormOperation, [flat, weight, bias, undefined], options)[0].reshape(x.shape)
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

function checkResidual(x: Tensor, residual: Tensor): void {
  needSame('batchNorm', x, residual)
  if (!sameShape(residual.shape, x.shape))
    throw new ShapeError(
      `batchNorm: needs a residual of shape ${showShape(x.shape)}, got ${showShape(residual.shape)}`,
    )
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
