/**
 * Weights of a llama model before any training: matrices normal, those that end a residual branch smaller by
 * sqrt(2 layers) (Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3), norms 1,
 * biases 0.
 *
 * Each weight comes from the random stream of its own name, so that it does not depend on the other weights of the
 * model. It is drawn and scaled in f64 and then rounded to f32.
 */
import { OptionError } from '../../tensor/errors.ts'
import { ones, randomStream, scope, type Tensor, zeros } from '../../tensor/index.ts'
import type { LlamaConfig } from './config.ts'
import { weightShapes } from './weight_shapes.ts'

export interface FreshWeightsOptions {
  /** The same seed gives the same weights. */
  seed: number | bigint
  /** Standard deviation of a matrix that ends no branch, above 0. @default 0.02 */
  deviation?: number
}

/** By Hugging Face name, f32. @example new Llama(config, memoryWeights(freshWeights(config, { seed: 1 }))) */
export function freshWeights(
  config: LlamaConfig,
  { seed, deviation = 0.02 }: FreshWeightsOptions,
): Map<string, Tensor> {
  if (!(deviation > 0 && Number.isFinite(deviation)))
    throw new OptionError(`deviation: needs a number above 0, got ${deviation}`)
  const residual = deviation / Math.sqrt(2 * config.layers.length)
  const fresh = (name: string, shape: readonly number[]): Tensor => {
    if (name.endsWith('.bias')) return zeros(shape)
    if (shape.length === 1) return ones(shape)
    const spread = /\.(o_proj|down_proj)\.weight$/.test(name) ? residual : deviation
    return scope(() => randomStream(seed, name).normal(shape, 'f64').mul(spread).cast('f32'))
  }
  return new Map(Array.from(weightShapes(config), ([name, shape]) => [name, fresh(name, shape)]))
}
