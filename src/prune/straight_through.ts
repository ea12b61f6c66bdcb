/**
 * Pruning that weights can come back from: JaxPruner's magnitude_ste and random_ste (arXiv:2304.14082, section 3;
 * straight-through estimator of Bengio et al. 2013, arXiv:1308.3432).
 *
 *   forward    w M, with M made anew for every step t from the dense w at the sparsity of t
 *   backward   the gradient at w M moves all of w
 *
 * Layers see the weights through `nn/masked_source.ts`, in training and in evaluation alike; parameters stay dense until
 * the training is finished.
 */

import { maskedSource } from '../nn/masked_source.ts'
import type { WeightSource } from '../nn/weight_source.ts'
import type { StepContext } from '../optim/training_method.ts'
import type { SourceLayer } from '../optim/training_task.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { scope, tensor } from '../tensor/index.ts'
import { MaskSet } from './mask_set.ts'
import { type PruningMethod, savedCount } from './masked_training.ts'
import { maskOf } from './pattern.ts'
import { checkedOptions, type PruningOptions } from './pruning_options.ts'
import { magnitudeScore, randomScore, type Score } from './scores.ts'

/**
 * Computes with the largest weights of each step.
 *
 * @throws OptionError for numbers out of their range; from the first step where a pruned parameter is read by no layer
 * of the task
 * @example magnitudeSte({ sparsity: 0.8, schedule: { kind: 'polynomial', begin: 100, end: 1000 } })
 */
export const magnitudeSte = (options: PruningOptions): PruningMethod =>
  straightThrough('magnitude_ste', magnitudeScore, options)

/** Computes with random weights, others at each step. Options and errors as of `magnitudeSte`. */
export const randomSte = (options: PruningOptions): PruningMethod =>
  straightThrough('random_ste', randomScore, options)

function straightThrough(name: string, score: Score, options: PruningOptions): PruningMethod {
  const { time, pattern, ties, packed, seed, targets: targetsOf } = checkedOptions(name, options)
  const masks = new MaskSet({ packed })
  let count = 0
  let targets: ReadonlyMap<string, number> = new Map()
  let parameters: StepContext['parameters'] | undefined
  let replaced: { layer: SourceLayer; source: WeightSource }[] = []

  const renew = () => {
    for (const [path, target] of targets) {
      const weight = parameters!.get(path).state.tensor()
      const values = scope(() => score({ path, weight, count, seed }).toArray()) as
        | Float32Array
        | Float64Array
      masks.set(path, maskOf({ values, shape: weight.shape }, time.sparsity(count, target), pattern, ties))
    }
  }
  const putBack = () => {
    for (const { layer, source } of replaced) layer.source = source
    replaced = []
  }

  return {
    name,
    prepare(context) {
      putBack()
      masks.dispose()
      parameters = context.parameters
      count = 0
      targets = targetsOf(new Map([...parameters.tensors()].map(([path, { shape }]) => [path, shape])))
      for (const path of targets.keys()) {
        const layers = context.layers.filter((layer) => layer.name === path)
        if (layers.length === 0)
          throw new OptionError(
            `${name}: ${printable(path)} is read by no layer that can be given a masked weight; leave it out, or use ${score === randomScore ? 'random' : 'magnitude'}`,
          )
        masks.add(path, parameters.get(path).state)
        for (const layer of layers) {
          replaced.push({ layer, source: layer.source })
          layer.source = maskedSource(layer.source, () => masks.tensor(path), { straightThrough: true })
        }
      }
      renew()
    },
    afterUpdate() {
      count++
      renew()
    },
    finish: (context) => masks.applyTo(context.parameters),
    state: () => ({ count: tensor([count], [], 'f64') }),
    load({ count: saved }) {
      count = savedCount(name, saved)
      renew()
    },
    masks: () => masks.masks(),
    dispose() {
      putBack()
      masks.dispose()
    },
  }
}
