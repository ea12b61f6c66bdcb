/**
 * Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1) and AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101,
 * algorithm 2), as `torch.optim.Adam` and `torch.optim.AdamW`
 * (https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html) define and default them:
 *
 *   Adam    g <- g + decay * p
 *   AdamW   p <- p - rate * decay * p
 *   m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
 *   p <- p - rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
 *
 * t counts the steps of the parameter; epsilon stands outside of the root.
 */
import { OptionError } from '../tensor/errors.ts'
import { adamStep } from '../tensor/index.ts'
import { type OptimiserFor, optimiserOf, type UpdateRule } from './optimiser.ts'
import { type CommonSettings, needSetting, type OptimiserOptions } from './settings.ts'

export interface AdamSettings extends CommonSettings {
  /** Shares of the two means that stay from step to step, each in [0, 1). @default [0.9, 0.999] */
  betas: readonly [number, number]
  /** Keeps small denominators from growing steps; above 0. @default 1e-8 */
  epsilon: number
  /** From 0 on. Adam adds it to the gradient; AdamW shrinks the parameter by rate * decay. @default 0 and 0.01 */
  decay: number
}

function adamRule(name: string, decay: number, isDecoupled: boolean): UpdateRule<AdamSettings> {
  return {
    name,
    defaults: { rate: 1e-3, betas: [0.9, 0.999], epsilon: 1e-8, decay },
    check({ betas, epsilon, decay }, at) {
      if (!Array.isArray(betas) || betas.length !== 2)
        throw new OptionError(`${at}: betas must be two numbers in [0, 1), got ${JSON.stringify(betas)}`)
      for (const [i, beta] of betas.entries())
        needSetting(at, `betas[${i}]`, beta, beta >= 0 && beta < 1, 'in [0, 1)')
      needSetting(at, 'epsilon', epsilon, epsilon > 0, 'above 0')
      needSetting(at, 'decay', decay, decay >= 0, 'at least 0')
    },
    moments: () => ['first', 'second'],
    update({ parameter, gradient, moments, settings, rate, count, scale }) {
      const { betas, epsilon, decay } = settings
      const [beta1, beta2] = betas
      adamStep(parameter, moments.first!, moments.second!, gradient, {
        rate: rate / (1 - beta1 ** count),
        scale,
        decay: isDecoupled ? 0 : decay,
        keep: isDecoupled ? 1 - rate * decay : 1,
        beta1,
        beta2,
        correction: Math.sqrt(1 - beta2 ** count),
        epsilon,
      })
    },
  }
}

/**
 * Adam, with decay as an L2 penalty. Keeps two moments, `first` and `second`: the means of gradients and their squares.
 *
 * @param options `rate` is 1e-3 by default
 * @throws OptionError for settings out of their range
 * @example const optimiser = adam({ rate: 1e-4, betas: [0, 0.95] })(parameters)
 */
export const adam = (options: OptimiserOptions<AdamSettings> = {}): OptimiserFor =>
  optimiserOf(adamRule('adam', 0, false), options)

/**
 * Adam with decoupled decay. Moments as of `adam`.
 *
 * @param options `rate` is 1e-3 by default
 * @throws OptionError for settings out of their range
 * @example
 * // No decay of norms and biases, and a slower embedding.
 * const optimiser = adamW({
 *   rate: warmUp({ steps: 100 }, cosine({ from: 3e-4, to: 3e-5, steps: 9900 })),
 *   decay: 0.1,
 *   groups: [{ match: ['**norm.weight', '**.bias'], decay: 0 }, { match: 'embed_tokens', rate: 1e-4 }],
 * })(parameters)
 */
export const adamW = (options: OptimiserOptions<AdamSettings> = {}): OptimiserFor =>
  optimiserOf(adamRule('adamW', 0.01, true), options)
