/**
 * Batch norm with running statistics is a scale and a shift of every channel (Jacob et al. 2018, arXiv:1712.05877,
 * section 3.2), so that it goes into the convolution before it, and comes back as an identity:
 *
 *   fold     s = weight / sqrt(variance + epsilon);   W' = s W,   b' = s (b - mean) + bias
 *   insert   weight = sqrt(variance + epsilon),   bias = mean
 */
import { fullLike, State, scope, type Tensor } from '../tensor/index.ts'
import { BatchNorm, type BatchNormOptions } from './batch_norm.ts'
import { Convolution } from './convolution.ts'
import { denseSource } from './weight_source.ts'

/** Of one norm, each [channels]. */
export interface NormNumbers {
  weight?: Tensor | undefined
  bias?: Tensor | undefined
  mean: Tensor
  variance: Tensor
}

/**
 * Weight [out, ..] and bias [out] that give what a norm gives of `weight` and `bias`, but for rounding.
 *
 * @param epsilon that of the norm
 * @example const { weight, bias } = foldNorm(stem.weight, undefined, { mean, variance }, 1e-3)
 */
export function foldNorm(
  weight: Tensor,
  bias: Tensor | undefined,
  norm: NormNumbers,
  epsilon: number,
): { weight: Tensor; bias: Tensor } {
  return scope(() => {
    const deviation = norm.variance.add(epsilon).sqrt()
    const scale = norm.weight ? norm.weight.div(deviation) : deviation.reciprocal()
    const shift = (bias ? bias.sub(norm.mean) : norm.mean.neg()).mul(scale)
    return {
      weight: weight.mul(scale.reshape([scale.size, ...weight.shape.slice(1).map(() => 1)])).contiguous(),
      bias: norm.bias ? shift.add(norm.bias) : shift,
    }
  })
}

/**
 * The convolution that does what `convolution` and then `norm` with its running statistics do. Both stay as they are; the
 * caller's scope owns the new weight and bias.
 *
 * @example const folded = foldConvolution(stem, stemNorm).forward(x) // stemNorm.forward(stem.forward(x), 'running')
 */
export function foldConvolution(convolution: Convolution, norm: BatchNorm): Convolution {
  const { runningMean, runningVariance, weight, bias } = norm.weights
  const folded = scope(() => {
    const numbers = { weight, bias, mean: runningMean.tensor(), variance: runningVariance.tensor() }
    return foldNorm(convolution.source.dense(), convolution.bias, numbers, norm.epsilon)
  })
  return new Convolution(convolution.name, denseSource(folded.weight), convolution.geometry, folded.bias)
}

/**
 * A norm to put behind a layer of a network that has none, or whose norm was folded: with running statistics it changes
 * nothing. Without statistics that is exact: mean 0, and a variance that gives 1 with epsilon. With the mean and variance
 * [channels] that the layer puts out it holds but for rounding, and the norm later follows what they become. Both are
 * copied. The caller owns the norm's tensors and states.
 *
 * @example const norm = identityNorm('stem.norm', 32, { statistics: { mean, variance } })
 */
export function identityNorm(
  name: string,
  channels: number,
  { statistics, ...options }: BatchNormOptions & { statistics?: { mean: Tensor; variance: Tensor } } = {},
): BatchNorm {
  const dtype = statistics?.mean.dtype ?? 'f32'
  const [runningMean, runningVariance] = ['running_mean', 'running_var'].map(
    (part) => new State(`${name}.${part}`, [channels], dtype),
  ) as [State, State]
  const { epsilon = 1e-5 } = options
  if (!statistics) {
    const norm = new BatchNorm({ runningMean, runningVariance }, options)
    scope(() => runningVariance.assign(fullLike(runningVariance.tensor(), 1 - epsilon)))
    return norm
  }
  runningMean.assign(statistics.mean)
  runningVariance.assign(statistics.variance)
  const weight = scope(() => statistics.variance.add(epsilon).sqrt())
  return new BatchNorm({ weight, bias: runningMean.value(), runningMean, runningVariance }, options)
}
