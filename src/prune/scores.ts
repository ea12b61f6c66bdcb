/**
 * What weights are worth; higher ones are kept. Each gives a tensor of the shape of the weight w.
 *
 *   magnitude   |w|          Han et al. 2015, arXiv:1506.02626
 *   saliency    |w g|        Molchanov et al. 2017, arXiv:1611.06440, with g the gradient of a batch
 *   random      uniform in [0, 1) where the mask keeps, 0 elsewhere, so that pruned weights stay pruned
 *   fisher      w^2 v        LeCun et al. 1990 with the diagonal Fisher estimate v, Adam's second moment
 */
import type { Optimiser } from '../optim/optimiser.ts'
import { OptionError, printable, StateError } from '../tensor/errors.ts'
import { randomStream, type Tensor } from '../tensor/index.ts'

/** What a score may look at. */
export interface Scored {
  readonly path: string
  /** In f32 or f64. */
  readonly weight: Tensor
  /** Of the loss of a batch, at the masked weights, not masked itself; absent in forwards and in one-shot use without. */
  readonly gradient?: Tensor | undefined
  /** bool; the mask so far. */
  readonly mask?: Tensor | undefined
  readonly optimiser?: Optimiser | undefined
  /** Masks made so far are told apart by it, with the seed. */
  readonly count: number
  readonly seed: number
}

export type Score = (scored: Scored) => Tensor

export const magnitudeScore: Score = ({ weight }) => weight.abs()

/** @throws OptionError where there is no gradient */
export const saliencyScore: Score = ({ path, weight, gradient }) => {
  if (!gradient)
    throw new OptionError(
      `saliency: ${printable(path)} needs a gradient, got none; give the gradients of a batch`,
    )
  return weight.mul(gradient.cast(weight.dtype as 'f32')).abs()
}

/** Depends on nothing but seed, count and path, so that it needs no state. */
export const randomScore: Score = ({ path, weight, mask, count, seed }) => {
  const values = randomStream(seed, `prune/${count}/${path}`).uniform(
    weight.shape,
    weight.dtype as 'f32' | 'f64',
  )
  return mask ? mask.where(values, 0) : values
}

/** @throws StateError where the optimiser keeps no second moment of the weight, or has taken no step yet */
export const fisherScore: Score = ({ path, weight, optimiser }) => {
  const second = optimiser?.states().get(`${path}/second`)
  if (!second)
    throw new StateError(
      `fisher: ${printable(path)} needs the second moment of Adam after a step, which ${optimiser?.name ?? 'nothing'} does not hold; use adam or adamW, and begin later than step 0`,
    )
  return weight.square().mul(second.tensor())
}
