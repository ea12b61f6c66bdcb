/**
 * When masks are made anew, and how sparse they are then. `polynomial` is the cubic schedule of
 * `optim/sparsity_schedule.ts`; the others are those of JaxPruner (arXiv:2304.14082, section 3).
 */

import { cosine, type Schedule } from '../optim/schedules.ts'
import { cubicSparsity } from '../optim/sparsity_schedule.ts'
import { OptionError } from '../tensor/errors.ts'

/** Steps are counted from 0. */
export type MaskSchedule =
  /** Never: masks stay as they began. */
  | { kind: 'none' }
  /** Once, at `at`, with all of the sparsity. */
  | { kind: 'oneShot'; at: number }
  /** Where `every` divides the step, from `begin` to `end`, with all of the sparsity. @default begin 0, end never, every 100 */
  | { kind: 'periodic'; begin?: number; end?: number; every?: number }
  /** Grows from `from` to the sparsity, as `cubicSparsity` says. @default from 0, begin 0, every 100, power 3 */
  | {
      kind: 'polynomial'
      from?: number
      begin?: number
      end: number
      every?: number
      power?: number
      /** @default 'jaxpruner' */
      convention?: 'gmp' | 'jaxpruner'
    }

export interface SparsityInTime {
  /** Whether masks are made anew at a step. */
  readonly updates: (step: number) => boolean
  /** Sparsity of a mask that is made at a step, of a tensor that is to have `target` in the end. */
  readonly sparsity: (step: number, target: number) => number
}

/**
 * Of a polynomial schedule the last step makes masks too where the grid of updates would miss the target.
 *
 * @throws OptionError for numbers that are not whole, or out of their range
 * @example maskSchedule({ kind: 'polynomial', end: 20, every: 1 }).sparsity(9, 0.5) // 0.4375
 */
export function maskSchedule(schedule: MaskSchedule): SparsityInTime {
  const whole = (name: string, value: number, least: number) => {
    if (Number.isSafeInteger(value) && value >= least) return
    throw new OptionError(`schedule: ${name} must be a whole number from ${least} on, got ${value}`)
  }
  switch (schedule.kind) {
    case 'none':
      return { updates: () => false, sparsity: (_, target) => target }
    case 'oneShot': {
      const { at } = schedule
      whole('at', at, 0)
      return { updates: (step) => step === at, sparsity: (_, target) => target }
    }
    case 'periodic': {
      const { begin = 0, end = Number.POSITIVE_INFINITY, every = 100 } = schedule
      whole('begin', begin, 0)
      whole('every', every, 1)
      if (end !== Number.POSITIVE_INFINITY) whole('end', end, begin)
      return {
        updates: (step) => step >= begin && step <= end && step % every === 0,
        sparsity: (_, target) => target,
      }
    }
    case 'polynomial': {
      const { kind: _, convention = 'jaxpruner', ...options } = schedule
      const { from = 0 } = options
      // What stays dense does not begin sparse.
      const of = (to: number) => cubicSparsity({ ...options, from: Math.min(from, to), convention, to })
      const grid = cubicSparsity({ ...options, convention, to: Math.max(0.5, from) })
      const curves = new Map<number, Schedule>()
      const curveTo = (target: number): Schedule => {
        const curve = curves.get(target) ?? of(target).sparsity
        curves.set(target, curve)
        return curve
      }
      const { end, every = 100, begin = 0 } = options
      const lastOnGrid = Math.floor(end / every) * every
      // The jaxpruner convention is a step ahead, so that its target is met from end - 1 on.
      const misses = convention === 'jaxpruner' && (lastOnGrid < begin || lastOnGrid < end - 1)
      return {
        updates: (step) => grid.updates(step) || (misses && step === end),
        sparsity: (step, target) => curveTo(target)(step),
      }
    }
    default:
      throw new OptionError(
        `schedule: the kind must be none, oneShot, periodic or polynomial, got ${(schedule satisfies never as MaskSchedule).kind}`,
      )
  }
}

/**
 * Share of the connections that a step drops and grows: f(t) = from (1 + cos(pi min(t, T) / T)) / 2, with T = `steps`
 * (Evci et al. 2020, arXiv:1911.11134, section 3).
 *
 * @param from in [0, 1]. @default 0.1
 * @example dropFraction({ from: 0.3, steps: 1000 })(500) // 0.15
 */
export function dropFraction({ from = 0.1, steps }: { from?: number; steps: number }): Schedule {
  if (!(from >= 0 && from <= 1)) throw new OptionError(`drop: the fraction must be in [0, 1], got ${from}`)
  return cosine({ from, to: 0, steps })
}
