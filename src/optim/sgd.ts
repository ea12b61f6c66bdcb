/**
 * Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013, section 2), as `torch.optim.SGD`
 * (https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html) defines and defaults it:
 *
 *   g <- g + decay * p
 *   m <- momentum * m + (1 - dampening) * g,   m = g at the first step
 *   p <- p - rate * m,   or with Nesterov's momentum   p - rate * (g + momentum * m)
 */
import { OptionError } from '../tensor/errors.ts'
import { sgdStep } from '../tensor/index.ts'
import { type OptimiserFor, optimiserOf, type UpdateRule } from './optimiser.ts'
import { type CommonSettings, needSetting, type OptimiserOptions } from './settings.ts'

export interface SgdSettings extends CommonSettings {
  /** Share of the direction that stays from step to step, from 0 on. @default 0 */
  momentum: number
  /** What the gradient loses where it joins the momentum. @default 0 */
  dampening: number
  /** Looks one step of momentum ahead; needs momentum, and no dampening. @default false */
  nesterov: boolean
  /** L2 penalty, from 0 on, added to the gradient. @default 0 */
  decay: number
}

const rule: UpdateRule<SgdSettings> = {
  name: 'sgd',
  defaults: { rate: 1e-3, momentum: 0, dampening: 0, nesterov: false, decay: 0 },
  check({ momentum, dampening, nesterov, decay }, at) {
    needSetting(at, 'momentum', momentum, momentum >= 0, 'at least 0')
    needSetting(at, 'dampening', dampening, true, 'a finite number')
    needSetting(at, 'decay', decay, decay >= 0, 'at least 0')
    if (typeof nesterov !== 'boolean')
      throw new OptionError(`${at}: nesterov must be true or false, got ${nesterov}`)
    if (nesterov && (momentum === 0 || dampening !== 0))
      throw new OptionError(
        `${at}: nesterov needs a momentum above 0 and no dampening, got ${momentum} and ${dampening}`,
      )
  },
  moments: ({ momentum }) => (momentum > 0 ? ['momentum'] : []),
  update({ parameter, gradient, moments, settings, rate, count, scale }) {
    const { momentum, dampening, nesterov, decay } = settings
    const fresh = count === 1 ? 1 : 1 - dampening
    sgdStep(parameter, moments.momentum, gradient, { rate, scale, decay, momentum, fresh, nesterov })
  },
}

/**
 * Stochastic gradient descent. Keeps one moment, `momentum`, where there is momentum, and none without.
 *
 * @param options `rate` is 1e-3 by default
 * @throws OptionError for settings out of their range
 * @example
 * const optimiser = sgd({ rate: 0.1, momentum: 0.9, nesterov: true, decay: 5e-4 })(parameters)
 * optimiser.step(valueAndGrad(loss, parameters.tensors()).gradients)
 */
export const sgd = (options: OptimiserOptions<SgdSettings> = {}): OptimiserFor => optimiserOf(rule, options)
