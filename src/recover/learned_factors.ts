/**
 * Two thin matrices for the error of a weight, learned by descent: the baseline of EoRA's closed form.
 *
 *   loss of a step = |X (D - B A)^T|, Frobenius, on one random sample X; AdamW, B = 0 and A of Xavier at first
 *
 * Liu et al. 2024, arXiv:2410.21271: 1000 steps with a rate from 1e-3 down to 1e-6 along a cosine.
 */
import { Parameters } from '../nn/parameters.ts'
import { adamW } from '../optim/adam.ts'
import { fit as descend } from '../optim/fit.ts'
import { cosine } from '../optim/schedules.ts'
import { OptionError } from '../tensor/errors.ts'
import { linear, matmul, randomStream, scope, type Tensor, zeros } from '../tensor/index.ts'
import type { LowRank } from './low_rank_error.ts'

export interface LearnedFactorOptions {
  /** From 1 on. */
  rank: number
  /** From 1 on. @default 1000 */
  steps?: number
  /** @default 0 */
  seed?: number
}

/**
 * @param error D [out, in], f32 or f64
 * @param samples inputs of the layer, each [tokens, in] in the type of the error
 * @returns factors in f64
 * @throws OptionError for an impossible rank or no samples
 */
export function learnedFactors(
  error: Tensor,
  samples: readonly Tensor[],
  { rank, steps = 1000, seed = 0 }: LearnedFactorOptions,
): LowRank {
  const [outputs, inputs] = error.shape as [number, number]
  if (!(Number.isSafeInteger(rank) && rank >= 1))
    throw new OptionError(`learned factors: the rank must be a whole number from 1 on, got ${rank}`)
  if (samples.length === 0) throw new OptionError('learned factors: at least one sample is needed, got none')
  const dtype = error.dtype === 'f64' ? 'f64' : 'f32'
  const random = randomStream(seed, 'learned factors')
  const parameters = new Parameters()
  try {
    return scope(() => {
      const span = Math.sqrt(6 / (inputs + rank))
      const right = parameters.add(
        'right',
        random
          .uniform([rank, inputs], dtype)
          .mul(2 * span)
          .sub(span),
      )
      const left = parameters.add('left', zeros([outputs, rank], dtype))
      descend({
        parameters,
        optimiser: adamW({ rate: cosine({ from: 1e-3, to: 1e-6, steps }) })(parameters),
        loader: { next: () => samples[random.integer(samples.length)]! },
        // The square root has no slope at 0; a tiny number keeps the gradient finite where nothing is lost.
        loss: (x) =>
          linear(x, error.sub(matmul(left, right)))
            .square()
            .sum()
            .add(1e-30)
            .sqrt(),
        steps,
      })
      return { left: left.cast('f64').add(0), right: right.cast('f64').add(0) }
    })
  } finally {
    parameters.dispose()
  }
}
