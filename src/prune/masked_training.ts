/**
 * What all sparse trainings share (JaxPruner, arXiv:2304.14082, section 3): masks around any optimiser. A rule says
 * which weights stay. Step t, which is the count of optimiser steps so far, runs as
 *
 *   1  where the schedule says so: new masks, from the weights and the dense gradients at hand
 *   2  gradients <- gradients * masks      where a rule asks for it, after clipping
 *   3  the optimiser steps                 or is left out, where a rule asks for it and masks are new
 *   4  weights <- weights * masks
 *
 * Gradients are clipped before masks touch them, so that their norm counts those of pruned weights.
 */
import type { StepContext, TrainingMethod } from '../optim/training_method.ts'
import type { TrainingBatch } from '../optim/training_task.ts'
import { StateError } from '../tensor/errors.ts'
import { type Shape, scope, type Tensor, tensor } from '../tensor/index.ts'
import type { Mask, Scores } from './mask.ts'
import type { SparsityInTime } from './mask_schedule.ts'
import { MaskSet } from './mask_set.ts'
import type { Score } from './scores.ts'

/** What new masks may be made of. */
export interface MaskContext {
  readonly training: StepContext
  /** Steps of the optimiser and of masks so far. */
  readonly count: number
  /** Before the new ones. */
  readonly masks: MaskSet
  /** Sparsities in the end, by path. */
  readonly targets: ReadonlyMap<string, number>
  /** Not masked; absent before the first step. */
  readonly gradients: ReadonlyMap<string, Tensor> | undefined
}

export interface MaskedTraining {
  readonly name: string
  readonly time: SparsityInTime
  /** Sparsity of each parameter that has a mask. */
  readonly targets: (shapes: ReadonlyMap<string, Shape>) => ReadonlyMap<string, number>
  /** Masks before the first step. @default all ones */
  readonly begin?: (context: MaskContext) => ReadonlyMap<string, Mask>
  readonly update?: (context: MaskContext) => ReadonlyMap<string, Mask>
  /** @default false */
  readonly masksGradients?: boolean
  /** Leaves the step out where masks are new. @default false */
  readonly skipsStep?: boolean
  /** One bit a weight. @default false */
  readonly packed?: boolean | undefined
}

export interface PruningMethod extends TrainingMethod<TrainingBatch> {
  /** Copies of the masks by path; none before the training is prepared. */
  masks(): ReadonlyMap<string, Mask>
}

/** A training method that follows a rule. Its masks and its count are saved with the run. */
export function maskedTraining(rule: MaskedTraining): PruningMethod {
  const masks = new MaskSet({ packed: rule.packed ?? false })
  let count = 0
  let targets: ReadonlyMap<string, number> = new Map()
  let isFresh = false
  const renew = (
    make: MaskedTraining['update'],
    training: StepContext,
    gradients?: ReadonlyMap<string, Tensor>,
  ) => {
    const next = scope(() => make?.({ training, count, masks, targets, gradients }) ?? new Map())
    for (const [path, mask] of next) masks.set(path, mask)
  }

  return {
    name: rule.name,
    prepare(training) {
      const { parameters, step } = training
      const shapes = new Map([...parameters.tensors()].map(([path, { shape }]) => [path, shape]))
      masks.dispose()
      count = 0
      targets = rule.targets(shapes)
      for (const path of targets.keys()) masks.add(path, parameters.get(path).state)
      renew(rule.begin, training)
      // The first forward is sparse too. Later ones begin with what was saved.
      if (step === 0 && rule.begin) masks.applyTo(parameters)
    },
    clipped(gradients, training) {
      isFresh = rule.time.updates(count)
      if (isFresh) renew(rule.update, training, gradients)
      return rule.masksGradients ? masks.masked(gradients) : gradients
    },
    ...(rule.skipsStep && {
      update(gradients, take) {
        if (!isFresh) take(gradients)
      },
    }),
    afterUpdate({ parameters }) {
      count++
      masks.applyTo(parameters)
    },
    state: () => ({ count: tensor([count], [], 'f64'), ...masks.state() }),
    load({ count: saved, ...rest }) {
      const counted = savedCount(rule.name, saved)
      masks.load(rest)
      count = counted
    },
    masks: () => masks.masks(),
    dispose: () => masks.dispose(),
  }
}

/** Scores of all parameters with masks. */
export function scoresOf(
  score: Score,
  { training: { parameters, optimiser }, masks, targets, gradients, count }: MaskContext,
  seed: number,
): Map<string, Scores> {
  return new Map(
    [...targets.keys()].map((path) => {
      const weight = parameters.get(path).state.tensor()
      const values = scope(() =>
        score({
          path,
          weight,
          gradient: gradients?.get(path),
          mask: masks.tensor(path),
          optimiser,
          count,
          seed,
        }).toArray(),
      )
      return [path, { values: values as Float32Array | Float64Array, shape: weight.shape }]
    }),
  )
}

export function savedCount(name: string, saved: Tensor | undefined): number {
  const count = saved?.size === 1 && saved.dtype === 'f64' ? saved.item() : Number.NaN
  if (Number.isSafeInteger(count) && count >= 0) return count
  throw new StateError(
    `${name}: the saved state needs a count of steps in f64; load that of the same method`,
    {
      code: 'PARE_E_STATE_PATH',
      facts: { key: 'count' },
    },
  )
}
