/**
 * The cubic sparsity schedule of gradual magnitude pruning (Zhu and Gupta 2017, arXiv:1710.01878, equation 1):
 *
 *   s(t) = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3   for t in t_0, t_0 + dt, .. , t_0 + n dt
 *
 * with t_0 = begin, t_0 + n dt = end, dt = every, s_i = from, s_f = to.
 */
import { OptionError } from '../tensor/errors.ts'
import { checkStep, type Schedule } from './schedules.ts'

/**
 * Whose counting of steps is followed.
 *
 *   gmp         updates at begin + k every; progress (t - begin) / (end - begin)
 *               and always at end, also where `every` does not divide the way there
 *   jaxpruner   updates where `every` divides t, from begin to end; progress (t + 1 - begin) / (end - begin); s_i is 0
 */
export type SparsityConvention = 'gmp' | 'jaxpruner'

export interface CubicSparsityOptions {
  /** Sparsity at `begin`, in [0, 1). @default 0 */
  from?: number
  /** Sparsity at `end`, in [0, 1). */
  to: number
  /** First step with an update; whole, from 0 on. @default 0 */
  begin?: number
  /** Where updates end and the sparsity is `to`; above `begin`. */
  end: number
  /** Steps between updates. @default 100 */
  every?: number
  /** Exponent. @default 3 */
  power?: number
  /** @default 'gmp' */
  convention?: SparsityConvention
}

export interface SparsitySchedule {
  /** Fraction of zeros that a mask made at this step has; `from` before `begin`, `to` from `end` on. */
  readonly sparsity: Schedule
  /** Whether masks are made anew at this step. */
  readonly updates: (step: number) => boolean
}

/**
 * Removes many weights at first, while there are many to spare, and few at the end.
 *
 * @throws OptionError for sparsities outside of [0, 1), an end that is not after the beginning, or a number that is not
 * whole
 * @example cubicSparsity({ to: 0.875, end: 1000 }).sparsity(500) // 0.765625
 */
export function cubicSparsity({
  from = 0,
  to,
  begin = 0,
  end,
  every = 100,
  power = 3,
  convention = 'gmp',
}: CubicSparsityOptions): SparsitySchedule {
  for (const [name, value] of Object.entries({ from, to }))
    if (!(value >= 0 && value < 1))
      throw new OptionError(
        `cubicSparsity: ${name} must be in [0, 1), got ${value}; 0.5 zeroes half of the weights`,
      )
  for (const [name, value, least] of [
    ['begin', begin, 0],
    ['end', end, begin + 1],
    ['every', every, 1],
  ] as const)
    if (!(Number.isSafeInteger(value) && value >= least))
      throw new OptionError(`cubicSparsity: ${name} must be a whole number from ${least} on, got ${value}`)
  if (!(power > 0 && Number.isFinite(power)))
    throw new OptionError(`cubicSparsity: power must be above 0, got ${power}`)
  if (convention !== 'gmp' && convention !== 'jaxpruner')
    throw new OptionError(`cubicSparsity: convention must be gmp or jaxpruner, got ${String(convention)}`)
  if (convention === 'jaxpruner' && from !== 0)
    throw new OptionError(
      `cubicSparsity: in the convention of jaxpruner from is 0, got ${from}; take that of gmp`,
    )
  const isGmp = convention === 'gmp'
  return {
    sparsity(step) {
      checkStep(step)
      const done = isGmp ? step - begin : step + 1 - begin
      if (done <= 0) return from
      return done >= end - begin ? to : to + (from - to) * (1 - done / (end - begin)) ** power
    },
    updates(step) {
      checkStep(step)
      if (step < begin || step > end) return false
      return isGmp ? step === end || (step - begin) % every === 0 : step % every === 0
    },
  }
}
