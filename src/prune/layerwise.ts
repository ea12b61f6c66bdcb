/**
 * Pruning by a score within each parameter, and none at all: JaxPruner's no_prune, magnitude, random and saliency, and
 * the Fisher score of its extensions (arXiv:2304.14082, section 3; scores in `scores.ts`).
 */
import type { TrainingMethod } from '../optim/training_method.ts'
import type { TrainingBatch } from '../optim/training_task.ts'
import { maskedTraining, type PruningMethod, scoresOf } from './masked_training.ts'
import { maskOf } from './pattern.ts'
import { checkedOptions, type PruningOptions } from './pruning_options.ts'
import { fisherScore, magnitudeScore, randomScore, type Score, saliencyScore } from './scores.ts'

/** Trains densely, with the bits of a training without method: the baseline of the others. */
export const noPrune = (): TrainingMethod<TrainingBatch> => ({ name: 'no_prune' })

/**
 * Keeps the largest weights. Masks follow the schedule; between its steps they stay.
 *
 * @throws OptionError for numbers out of their range; from the first step where patterns take nothing or do not fit
 * @example magnitude({ sparsity: 0.8, schedule: { kind: 'polynomial', begin: 100, end: 1000, every: 50 } })
 */
export const magnitude = (options: PruningOptions): PruningMethod =>
  layerwise('magnitude', magnitudeScore, options)

/** Keeps weights at random, of those that are left. Options and errors as of `magnitude`. */
export const random = (options: PruningOptions): PruningMethod => layerwise('random', randomScore, options)

/** Keeps weights whose product with the gradient of the batch at hand is largest. Options and errors as of `magnitude`. */
export const saliency = (options: PruningOptions): PruningMethod =>
  layerwise('saliency', saliencyScore, options)

/**
 * Keeps weights whose square times Adam's second moment is largest. Options as of `magnitude`.
 *
 * @throws StateError from the step that makes masks, where the optimiser is no Adam or has taken no step
 */
export const fisher = (options: PruningOptions): PruningMethod => layerwise('fisher', fisherScore, options)

/** Masks of each parameter on its own, from any score. @example layerwise('mine', ({ weight }) => weight.abs(), options) */
export function layerwise(name: string, score: Score, options: PruningOptions): PruningMethod {
  const { time, pattern, ties, packed, seed, targets } = checkedOptions(name, options)
  return maskedTraining({
    name,
    time,
    targets,
    packed,
    update: (context) =>
      new Map(
        [...scoresOf(score, context, seed)].map(([path, scores]) => [
          path,
          maskOf(scores, time.sparsity(context.count, context.targets.get(path)!), pattern, ties),
        ]),
      ),
  })
}
