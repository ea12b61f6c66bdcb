/**
 * Pruning by a score over all parameters at once: JaxPruner's global_magnitude and global_saliency (arXiv:2304.14082,
 * section 3). Without the normalisation of `globalMasks` single layers may lose all of their weights.
 */
import { OptionError } from '../tensor/errors.ts'
import { globalMasks } from './global_mask.ts'
import { maskedTraining, type PruningMethod, scoresOf } from './masked_training.ts'
import { checkedOptions, type PruningOptions } from './pruning_options.ts'
import { magnitudeScore, type Score, saliencyScore } from './scores.ts'
import { type Selection, selected } from './selection.ts'

export interface GlobalPruningOptions extends Omit<PruningOptions, 'distribution' | 'pattern'> {
  /**
   * Which parameters compete. Those with a sparsity of their own are pruned by themselves.
   *
   * @default all with two axes or more
   */
  selection?: Selection
  /** Divides the scores of each parameter by their norm. @default true */
  normalise?: boolean
}

/**
 * Keeps the largest weights of all parameters together; unstructured.
 *
 * @throws OptionError for numbers out of their range
 * @example globalMagnitude({ sparsity: 0.9, schedule: { kind: 'oneShot', at: 500 } })
 */
export const globalMagnitude = (options: GlobalPruningOptions): PruningMethod =>
  global('global_magnitude', magnitudeScore, options)

/** Keeps weights with the largest products with their gradients. Options and errors as of `globalMagnitude`. */
export const globalSaliency = (options: GlobalPruningOptions): PruningMethod =>
  global('global_saliency', saliencyScore, options)

function global(
  name: string,
  score: Score,
  { selection = {}, normalise = true, ...options }: GlobalPruningOptions,
): PruningMethod {
  const { pattern } = options as PruningOptions
  if (pattern && pattern.kind !== 'unstructured')
    throw new OptionError(
      `${name}: needs the unstructured pattern, got ${pattern.kind}; use a method by layer`,
    )
  const { sparsity, ...rest } = options
  const distribution = { kind: 'uniform', ...selection } as const
  const { time, ties, packed, seed, targets } = checkedOptions(name, { ...rest, sparsity, distribution })
  let own: ReadonlyMap<string, number> = new Map()
  return maskedTraining({
    name,
    time,
    packed,
    targets(shapes) {
      own = selected(name, shapes, selection).custom
      return targets(shapes)
    },
    update({ count, ...context }) {
      const at = (target: number) => time.sparsity(count, target)
      return globalMasks(scoresOf(score, { count, ...context }, seed), at(sparsity), {
        normalise,
        ties,
        own: new Map([...own].map(([path, target]) => [path, at(target)])),
      })
    },
  })
}
