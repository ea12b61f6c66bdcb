/**
 * Numbers that follow the course of a training: learning rates, decays, temperatures. A schedule is a function of how
 * many steps are done, so that a resumed run goes on with that number alone. The definitions are those of
 * `torch.optim.lr_scheduler` (https://docs.pytorch.org/docs/stable/optim.html), in closed form; ends are met exactly.
 */
import { OptionError } from '../tensor/errors.ts'

/** The value for the step that comes after `step` steps, a whole number from 0 on. */
export type Schedule = (step: number) => number

/**
 * The same value at every step.
 *
 * @example constant(3e-4)(1000) // 3e-4
 */
export function constant(value: number): Schedule {
  need('constant', 'value', value)
  return schedule(() => value)
}

export interface RampOptions {
  /** Value at step 0. */
  from: number
  /** Value at step `steps`, and after it. @default 0 */
  to?: number
  /** Whole, from 1 on. */
  steps: number
}

/**
 * A straight line. As `LinearLR` with from = base * start_factor and to = base * end_factor.
 *
 * @example linear({ from: 0.5, to: 0.25, steps: 4 })(1) // 0.4375
 */
export function linear({ from, to = 0, steps }: RampOptions): Schedule {
  checkRamp('linear', from, to, steps)
  return ramp(from, to, steps, (done) => 1 - done)
}

/**
 * Half a cosine from one value to its floor (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5). As
 * `CosineAnnealingLR` with eta_min = to, which stays there after its end.
 *
 * @example cosine({ from: 1, to: 0, steps: 2 })(1) // 0.5
 */
export function cosine({ from, to = 0, steps }: RampOptions): Schedule {
  checkRamp('cosine', from, to, steps)
  return ramp(from, to, steps, (done) => (1 + Math.cos(Math.PI * done)) / 2)
}

export interface MilestoneOptions {
  from: number
  /** Steps from which on the value is multiplied once more; whole, rising, from 1 on. */
  milestones: readonly number[]
  /** Above 0. @default 0.1 */
  gamma?: number
}

/**
 * Stairs: multiplied by gamma at every milestone. As `MultiStepLR`.
 *
 * @example milestones({ from: 1, milestones: [10, 20], gamma: 0.5 })(10) // 0.5
 */
export function milestones({ from, milestones, gamma = 0.1 }: MilestoneOptions): Schedule {
  need('milestones', 'from', from)
  need('milestones', 'gamma', gamma, gamma > 0, 'above 0')
  for (const [i, at] of milestones.entries())
    need(
      'milestones',
      `milestones[${i}]`,
      at,
      Number.isInteger(at) && at > (milestones[i - 1] ?? 0),
      'whole and rising',
    )
  return schedule((step) => from * gamma ** milestones.filter((at) => at <= step).length)
}

export interface StairOptions {
  from: number
  /** Steps on one stair; whole, from 1 on. */
  every: number
  /** Above 0. @default 0.1 */
  gamma?: number
}

/**
 * Stairs of one length. As `StepLR`.
 *
 * @example stairs({ from: 1, every: 30, gamma: 0.5 })(60) // 0.25
 */
export function stairs({ from, every, gamma = 0.1 }: StairOptions): Schedule {
  need('stairs', 'from', from)
  need('stairs', 'gamma', gamma, gamma > 0, 'above 0')
  needCount('stairs', 'every', every)
  return schedule((step) => from * gamma ** Math.floor(step / every))
}

export interface ExponentialOptions {
  from: number
  /** Factor of one step, in (0, 1]. */
  gamma: number
  /** The value never falls below it; at most `from`. @default 0 */
  floor?: number
}

/**
 * Falls by one factor at every step, down to a floor. As `ExponentialLR`; the floor is the constant ending of BigNAS
 * (Yu et al. 2020, arXiv:2003.11142, section 3.2).
 *
 * @example exponential({ from: 1, gamma: 0.5, floor: 0.2 })(3) // 0.2
 */
export function exponential({ from, gamma, floor = 0 }: ExponentialOptions): Schedule {
  need('exponential', 'gamma', gamma, gamma > 0 && gamma <= 1, 'in (0, 1]')
  need('exponential', 'from', from, from >= 0, 'at least 0')
  need('exponential', 'floor', floor, floor >= 0 && floor <= from, 'in [0, from]')
  return schedule((step) => Math.max(floor, from * gamma ** step))
}

export interface WarmUpOptions {
  /** Whole, from 0 on; 0 leaves the schedule as it is. */
  steps: number
  /** Value at step 0. @default 0 */
  from?: number
}

/**
 * A straight line up to where a schedule begins, then the schedule, whose step 0 is the end of the line.
 *
 * @example warmUp({ steps: 4 }, cosine({ from: 1, steps: 96 }))(2) // 0.5
 */
export function warmUp({ steps, from = 0 }: WarmUpOptions, then: Schedule): Schedule {
  need('warmUp', 'from', from)
  need('warmUp', 'steps', steps, Number.isInteger(steps) && steps >= 0, 'whole and at least 0')
  if (steps === 0) return then
  const up = linear({ from, to: then(0), steps })
  return schedule((step) => (step < steps ? up(step) : then(step - steps)))
}

/** A schedule for a number of steps. */
export interface Part {
  schedule: Schedule
  /** Whole, from 1 on. */
  steps: number
}

/**
 * Schedules one after another, each with steps of its own from 0 on; `last` goes on for good. As `SequentialLR`.
 *
 * @example sequence([{ schedule: constant(1), steps: 10 }], cosine({ from: 1, steps: 90 }))(55) // 0.5
 */
export function sequence(parts: readonly Part[], last: Schedule): Schedule {
  for (const [i, { steps }] of parts.entries()) needCount('sequence', `parts[${i}].steps`, steps)
  return schedule((step) => {
    let begin = 0
    for (const { schedule, steps } of parts) {
      if (step < begin + steps) return schedule(step - begin)
      begin += steps
    }
    return last(step - begin)
  })
}

/**
 * A schedule times a factor, as for rates that fall from layer to layer.
 *
 * @example scaled(constant(8), 0.75 ** 2)(0) // 4.5
 */
export function scaled(inner: Schedule, factor: number): Schedule {
  need('scaled', 'factor', factor)
  return schedule((step) => factor * inner(step))
}

/** A number stands for the schedule that is constant. */
export const asSchedule = (value: number | Schedule): Schedule =>
  typeof value === 'number' ? constant(value) : value

/** @throws OptionError unless `step` is a whole number from 0 on */
export function checkStep(step: number): void {
  if (!(Number.isSafeInteger(step) && step >= 0))
    throw new OptionError(`schedule: a step is a whole number from 0 on, got ${step}`)
}

function schedule(value: Schedule): Schedule {
  return (step) => {
    checkStep(step)
    return value(step)
  }
}

/** From one value to another; `left` says how much of the way is left when a part of the steps is done. */
function ramp(from: number, to: number, steps: number, left: (done: number) => number): Schedule {
  return schedule((step) => {
    if (step === 0) return from
    return step >= steps ? to : to + (from - to) * left(step / steps)
  })
}

function checkRamp(what: string, from: number, to: number, steps: number): void {
  need(what, 'from', from)
  need(what, 'to', to)
  needCount(what, 'steps', steps)
}

function needCount(what: string, name: string, value: number): void {
  need(what, name, value, Number.isSafeInteger(value) && value >= 1, 'whole and at least 1')
}

function need(what: string, name: string, value: number, fits = true, range = 'a finite number'): void {
  if (Number.isFinite(value) && fits) return
  throw new OptionError(`${what}: ${name} must be ${range}, got ${value}`)
}
