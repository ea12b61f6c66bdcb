/** Pruning in one call, without a training (JaxPruner's instant_sparsify, arXiv:2304.14082, section 3). */
import { OptionError, printable } from '../tensor/errors.ts'
import { fromBytes, type Shape, scope, type Tensor, withKernels } from '../tensor/index.ts'
import type { Distribution } from './distribution.ts'
import { globalMasks } from './global_mask.ts'
import type { Mask, Scores } from './mask.ts'
import { maskOf } from './pattern.ts'
import { checkedOptions, type PruningOptions } from './pruning_options.ts'
import { magnitudeScore, randomScore, type Score, saliencyScore } from './scores.ts'
import { selected } from './selection.ts'

const scores: Readonly<Record<string, Score>> = {
  magnitude: magnitudeScore,
  magnitude_ste: magnitudeScore,
  global_magnitude: magnitudeScore,
  random: randomScore,
  random_ste: randomScore,
  saliency: saliencyScore,
  global_saliency: saliencyScore,
}

export interface InstantOptions extends Omit<PruningOptions, 'schedule' | 'packed'> {
  /** A name of `trainingMethods` whose masks depend on nothing but weights and gradients. @default 'magnitude' */
  algorithm?: string
  /** By the same paths; what the saliencies need. */
  gradients?: ReadonlyMap<string, Tensor>
}

/**
 * Zeros in all weights that an algorithm would prune at once.
 *
 * @param weights in f32 or f64; they stay as they are
 * @returns all weights, the pruned ones as new tensors that the caller's scope owns, and the masks of these
 * @throws OptionError for an algorithm that prunes only in a training, such as rigl
 * @example const { weights, masks } = instantSparsify(parameters.tensors(), { sparsity: 0.5 })
 */
export function instantSparsify(
  weights: ReadonlyMap<string, Tensor>,
  { algorithm = 'magnitude', gradients, ...options }: InstantOptions,
): { weights: Map<string, Tensor>; masks: Map<string, Mask> } {
  const score = Object.hasOwn(scores, algorithm) ? scores[algorithm] : undefined
  if (!score)
    throw new OptionError(
      `instantSparsify: ${printable(algorithm)} prunes only in a training; at once there are ${Object.keys(scores).join(', ')}`,
    )
  const { pattern, ties, seed, targets } = checkedOptions('instantSparsify', options)
  const shapes = new Map([...weights].map(([path, { shape }]) => [path, shape]))
  const sparsities = targets(shapes)
  const scored = new Map(
    [...sparsities.keys()].map((path): [string, Scores] => {
      const weight = weights.get(path)!
      const values = scope(() =>
        score({ path, weight, gradient: gradients?.get(path), count: 0, seed }).toArray(),
      )
      return [path, { values: values as Float32Array | Float64Array, shape: weight.shape }]
    }),
  )
  const masks = algorithm.startsWith('global_')
    ? globalMasks(scored, options.sparsity, { ties, own: customOf(options.distribution, shapes) })
    : new Map([...scored].map(([path, own]) => [path, maskOf(own, sparsities.get(path)!, pattern, ties)]))
  const pruned = [...weights].map(([path, weight]) => {
    const mask = masks.get(path)
    const dense = () => withKernels(weight.kernels, () => fromBytes(mask!, weight.shape, 'bool'))
    return [path, mask ? scope(() => dense().where(weight, 0)) : weight] as const
  })
  return { weights: new Map(pruned), masks }
}

const customOf = (distribution: Distribution | undefined, shapes: ReadonlyMap<string, Shape>) =>
  selected('instantSparsify', shapes, distribution ?? {}).custom
