/**
 * AC/DC: phases of sparse and of dense training take turns (Peste et al. 2021, arXiv:2106.12379, algorithm 1), so that
 * one training gives a sparse model and weights get a second chance.
 *
 *   begin .. end       `sparse` steps with the largest weights of their first step, then `dense` steps with all, ..
 *   from end on        sparse, with the largest weights of that step
 */
import { OptionError } from '../tensor/errors.ts'
import { maskedTraining, type PruningMethod, scoresOf } from './masked_training.ts'
import { maskOf } from './pattern.ts'
import { checkedOptions, type PruningOptions } from './pruning_options.ts'
import { magnitudeScore } from './scores.ts'

export interface AcDcOptions extends Omit<PruningOptions, 'schedule'> {
  /** Dense steps at first; whole, from 0 on. */
  begin: number
  /** Steps of a sparse phase; whole, from 1 on. */
  sparse: number
  /** Steps of a dense phase; whole, from 1 on. */
  dense: number
  /** Step from which on all is sparse; whole, at least `begin`. */
  end: number
  /** Forgets moments and step counts of the pruned parameters where a phase begins. @default false */
  reset?: boolean
}

/**
 * Alternating compressed and decompressed training.
 *
 * @throws OptionError for numbers out of their range
 * @example acDc({ sparsity: 0.9, begin: 100, sparse: 50, dense: 50, end: 900 })
 */
export function acDc({ begin, sparse, dense, end, reset = false, ...options }: AcDcOptions): PruningMethod {
  const name = 'ac_dc'
  for (const [field, value, least] of [
    ['begin', begin, 0],
    ['sparse', sparse, 1],
    ['dense', dense, 1],
    ['end', end, begin],
  ] as const)
    if (!(Number.isSafeInteger(value) && value >= least))
      throw new OptionError(`${name}: ${field} must be a whole number from ${least} on, got ${value}`)
  const { pattern, ties, ...shared } = checkedOptions(name, options)
  const isSparse = (step: number) =>
    step >= end || (step >= begin && (step - begin) % (sparse + dense) < sparse)
  return maskedTraining({
    ...shared,
    name,
    masksGradients: true,
    time: {
      updates: (step) => step === end || isSparse(step) !== (step > 0 && isSparse(step - 1)),
      sparsity: (step, target) => (isSparse(step) ? target : 0),
    },
    update(context) {
      const { count, targets, training } = context
      if (reset) for (const path of targets.keys()) training.optimiser.reset(path)
      return new Map(
        [...scoresOf(magnitudeScore, context, shared.seed)].map(([path, scores]) => [
          path,
          maskOf(scores, isSparse(count) ? targets.get(path)! : 0, pattern, ties),
        ]),
      )
    },
  })
}
