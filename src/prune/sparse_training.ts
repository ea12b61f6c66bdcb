/**
 * Trainings that are sparse from the first step on: JaxPruner's static_sparse, set and rigl (arXiv:2304.14082,
 * section 3). Masks are random at first; gradients are masked before the step.
 *
 *   static_sparse   masks never change
 *   set             drops by |w|, grows at random                   Mocanu et al. 2018, arXiv:1707.04780
 *   rigl            drops by |w|, grows by |g|, the dense gradient  Evci et al. 2020, arXiv:1911.11134
 *
 * Steps that move connections leave the weights as they are. New connections begin at 0, and so do their moments; the
 * step count of Adam goes on, so that its first step there is about sqrt(10) times as long with its usual settings.
 */
import { asSchedule, type Schedule } from '../optim/schedules.ts'
import { OptionError } from '../tensor/errors.ts'
import { fromBytes, withKernels } from '../tensor/index.ts'
import { dropAndGrow } from './drop_grow.ts'
import type { Mask } from './mask.ts'
import { dropFraction } from './mask_schedule.ts'
import { type MaskContext, maskedTraining, type PruningMethod, scoresOf } from './masked_training.ts'
import { maskOf } from './pattern.ts'
import { checkedOptions, type PruningOptions } from './pruning_options.ts'
import { magnitudeScore, randomScore, type Score } from './scores.ts'

/**
 * Trains what random masks leave, from the first step to the last.
 *
 * @throws OptionError for numbers out of their range
 * @example staticSparse({ sparsity: 0.9, distribution: { kind: 'erk' } })
 */
export function staticSparse(options: Omit<PruningOptions, 'schedule'>): PruningMethod {
  const name = 'static_sparse'
  const checked = checkedOptions(name, { ...options, schedule: { kind: 'none' } })
  return maskedTraining({ ...checked, name, masksGradients: true, begin: randomMasks(checked) })
}

export interface MovingOptions extends Omit<PruningOptions, 'schedule' | 'pattern' | 'ties'> {
  /** First step that may move connections; whole, from 0 on. @default 0 */
  begin?: number
  /** Last step that may; the fraction of what moves falls to 0 until there. */
  end: number
  /** Connections move where it divides the step; whole, from 1 on. @default 100 */
  every?: number
  /**
   * Share of the connections that move: where a cosine to 0 begins, in [0, 1], or a share for each step.
   *
   * @default 0.1
   */
  drop?: number | Schedule
}

/**
 * Sparse evolutionary training.
 *
 * @throws OptionError for numbers out of their range
 * @example set({ sparsity: 0.9, every: 100, end: 7500, drop: 0.3 })
 */
export const set = (options: MovingOptions): PruningMethod => moving('set', growAtRandom, options)

/**
 * Rigged lottery. The gradient of the batch at hand, at the masked weights, says what grows.
 *
 * @throws OptionError for numbers out of their range
 * @example rigl({ sparsity: 0.9, distribution: { kind: 'erk' }, every: 100, end: 7500, drop: 0.3 })
 */
export const rigl = (options: MovingOptions): PruningMethod =>
  moving('rigl', ({ gradient }) => gradient!.abs(), options)

function moving(
  name: string,
  growScore: Score,
  { begin = 0, end, every = 100, drop = 0.1, ...options }: MovingOptions,
): PruningMethod {
  const { pattern } = options as PruningOptions
  if (pattern && pattern.kind !== 'unstructured')
    throw new OptionError(`${name}: needs the unstructured pattern, got ${pattern.kind}`)
  const schedule = { kind: 'periodic', begin, end, every } as const
  const checked = checkedOptions(name, { ...options, schedule })
  const fraction =
    typeof drop === 'function' ? asSchedule(drop) : dropFraction({ from: drop, steps: Math.max(end, 1) })
  return maskedTraining({
    ...checked,
    name,
    masksGradients: true,
    skipsStep: true,
    begin: randomMasks(checked),
    update(context) {
      const [drops, grows] = [magnitudeScore, growScore].map((score) =>
        scoresOf(score, context, checked.seed),
      )
      const next = new Map(
        [...drops!].map(([path, { values }]) => [
          path,
          dropAndGrow(context.masks.mask(path), values, grows!.get(path)!.values, fraction(context.count)),
        ]),
      )
      forgetMoments(context, next)
      return next
    },
  })
}

/** As `randomScore`, but over pruned weights too. */
const growAtRandom: Score = ({ mask: _, ...scored }) => randomScore(scored)

/** Drawn before step 0, so that what grows in it is another draw. */
const randomMasks =
  ({ seed, pattern, ties }: ReturnType<typeof checkedOptions>) =>
  (context: MaskContext): Map<string, Mask> =>
    new Map(
      [...scoresOf(randomScore, { ...context, count: -1 }, seed)].map(([path, scores]) => [
        path,
        maskOf(scores, context.targets.get(path)!, pattern, ties),
      ]),
    )

/** Moments of connections that were not there before are zeros. */
function forgetMoments(
  { masks, training: { optimiser } }: MaskContext,
  next: ReadonlyMap<string, Mask>,
): void {
  for (const [path, mask] of next) {
    const before = masks.mask(path)
    const isNew = mask.map((kept, i) => (kept && !before[i] ? 1 : 0))
    optimiser.edit(path, (moment, at) => {
      if (at.path !== path) return moment
      return withKernels(moment.kernels, () => fromBytes(isNew, moment.shape, 'bool')).where(0, moment)
    })
  }
}
