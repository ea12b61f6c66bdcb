/**
 * From measured sensitivities to the items of an allocation.
 *
 * The model is additive: what several compressed weights cost together is taken to be the sum of what each costs alone,
 * with all others as in the source. For small errors the KL divergence is a quadratic form in them, and the cross terms
 * of errors that are independent and without bias vanish on average (HAWQ-V3, arXiv:2011.10680; the linearity
 * theorem of HIGGS, arXiv:2411.17525). It is too low where errors are large or share a direction, so that the
 * chosen allocation must be measured as a whole.
 *
 * An error is one of two, for all weights the same:
 *
 *   measured   KL of the model with this weight alone compressed from the source, in nats a token
 *   proxy      relative error |(W' - W) X|^2 / |W X|^2 times energy |W X|^2: the output that is lost; it needs no run
 *              of the model, and knows nothing of the layers that follow
 *
 * More bytes of the same family of levels are never worse, so that what rises in a measurement is noise: errors are
 * fitted by the nearest sequence that does not rise with the bytes (isotonic.ts). Levels that it pools have one error,
 * and an allocation takes the smallest of them.
 */
import { createHash } from 'node:crypto'
import { OptionError, printable } from '../tensor/errors.ts'
import type { AllocationItem, Choice } from './allocate.ts'
import { nonIncreasing } from './isotonic.ts'

/** What one level does to one weight. */
export type Sensitivity<Level = string> = {
  readonly weight: string
  readonly level: Level
  /** Bytes of the weight at this level; a whole number. */
  readonly cost: number
} & (MeasuredError | ProxyError)

export interface MeasuredError {
  /** Nats a token; below 0 only by rounding. */
  readonly kl: number
  /** Of `kl`; where every level of a family has one, precise values move less in the fit. */
  readonly standardError?: number
}

export interface ProxyError {
  /** From 0 on. */
  readonly relativeError: number
  /** |W X|^2, or |W|^2 where no inputs are known; from 0 on. */
  readonly energy: number
}

export interface SensitivityOptions<Level = string> {
  /** In any order; each weight and level once. */
  readonly sensitivities: readonly Sensitivity<Level>[]
  /** Weights that share one level, by the name of the group; costs and errors add up. @default none */
  readonly groups?: Readonly<Record<string, readonly string[]>>
  /** Levels of different families are fitted apart. @default all are of one family */
  readonly familyOf?: (level: Level) => string
}

/** A choice with the variance of its error, where that is known. */
interface Estimate<Level> extends Choice<Level> {
  readonly variance: number | undefined
}

/**
 * One item for each group and for each weight of no group, in the order of their first sensitivity.
 *
 * @throws OptionError where kinds of error are mixed, values cannot be used, a level is there twice, or the weights of
 * a group have different levels.
 * @example
 * const sensitivities = [
 *   { weight: 'up', level: 'q3', cost: 300, kl: 0.05 },
 *   { weight: 'up', level: 'q4', cost: 400, kl: 0.01 },
 * ]
 * const { chosen } = allocate({ items: allocationItems({ sensitivities }), budget: 450 })
 * // chosen[0].level is 'q4'
 */
export function allocationItems<Level extends string | number>(
  options: SensitivityOptions<Level>,
): AllocationItem<Level>[] {
  const { sensitivities, groups = {}, familyOf = () => '' } = options
  const weights = byWeight(sensitivities)
  const groupOf = groupNames(groups, weights)
  const members = new Map<string, Estimate<Level>[][]>()
  for (const [weight, estimates] of weights) {
    const group = groupOf.get(weight)
    const name = group ?? weight
    if (group === undefined && Object.hasOwn(groups, weight))
      throw new OptionError(`${printable(weight)}: is a weight and the name of a group; rename the group`)
    const first = members.get(name)?.[0]
    if (first) checkSameLevels(name, weight, first, estimates)
    members.set(name, [...(members.get(name) ?? []), estimates])
  }
  return [...members].map(([name, lists]) => ({ name, choices: fitted(added(lists), familyOf) }))
}

/** A name for the result of one measurement, 64 hexadecimal digits: equal only where all four are. */
export function sensitivityKey(measurement: {
  weight: string
  /** With all options that change the compressed weight. */
  level: string | number
  /** Of the source model's weights. */
  sourceHash: string
  /** Of texts, windows and everything else that the error is measured with. */
  dataHash: string
}): string {
  const { weight, level, sourceHash, dataHash } = measurement
  const text = JSON.stringify(['pare sensitivity 1', weight, level, sourceHash, dataHash])
  return createHash('sha256').update(text).digest('hex')
}

function byWeight<Level extends string | number>(
  sensitivities: readonly Sensitivity<Level>[],
): Map<string, Estimate<Level>[]> {
  const weights = new Map<string, Estimate<Level>[]>()
  const measured = sensitivities.some((s) => 'kl' in s)
  for (const sensitivity of sensitivities) {
    const { weight, level, cost } = sensitivity
    const label = `${printable(weight)}, ${printable(String(level))}`
    if ('kl' in sensitivity !== measured)
      throw new OptionError(
        `${label}: has a proxy where others have a KL, which do not add up; measure all of them`,
      )
    const estimates = weights.get(weight) ?? []
    if (estimates.some((estimate) => estimate.level === level))
      throw new OptionError(`${label}: is there twice; keep one`)
    weights.set(weight, [...estimates, { level, cost, ...errorOf(sensitivity, label) }])
  }
  return weights
}

function errorOf(
  s: MeasuredError | ProxyError,
  label: string,
): { error: number; variance: number | undefined } {
  const check = (name: string, value: number, least: number) => {
    if (Number.isFinite(value) && value >= least) return value
    throw new OptionError(
      `${label}: ${name} must be finite${least === 0 ? ' and from 0 on' : ''}, got ${value}; measure it again`,
    )
  }
  if ('kl' in s) {
    const { kl, standardError } = s
    const variance = standardError === undefined ? undefined : check('standardError', standardError, 0) ** 2
    return { error: check('kl', kl, Number.NEGATIVE_INFINITY), variance }
  }
  return {
    error: check('relativeError', s.relativeError, 0) * check('energy', s.energy, 0),
    variance: undefined,
  }
}

/** The group of each weight that has one. */
function groupNames(
  groups: Readonly<Record<string, readonly string[]>>,
  weights: ReadonlyMap<string, unknown>,
): Map<string, string> {
  const groupOf = new Map<string, string>()
  for (const [name, members] of Object.entries(groups))
    for (const weight of members) {
      if (!weights.has(weight))
        throw new OptionError(
          `${printable(name)}: ${printable(weight)} has no sensitivity; measure it or take it out`,
        )
      if (groupOf.has(weight))
        throw new OptionError(`${printable(weight)}: is in two groups, or twice in one; keep one`)
      groupOf.set(weight, name)
    }
  return groupOf
}

function checkSameLevels<Level extends string | number>(
  group: string,
  weight: string,
  first: readonly Estimate<Level>[],
  own: readonly Estimate<Level>[],
): void {
  const same = first.every(({ level }) => own.some((estimate) => estimate.level === level))
  if (same && first.length === own.length) return
  const [expected, found] = [first, own].map((list) =>
    list.map(({ level }) => printable(String(level))).join(', '),
  )
  throw new OptionError(
    `${printable(group)}: its weights need the same levels, ${expected}, but ${printable(weight)} has ${found}; ` +
      'measure what is missing or divide the group',
  )
}

/** Sums over the weights of a group, level by level; errors of different weights are independent. */
function added<Level>(lists: readonly (readonly Estimate<Level>[])[]): Estimate<Level>[] {
  return lists[0]!.map(({ level }) => {
    const same = lists.map((list) => list.find((estimate) => estimate.level === level)!)
    const known = same.every(({ variance }) => variance !== undefined)
    return {
      level,
      cost: same.reduce((sum, { cost }) => sum + cost, 0),
      error: same.reduce((sum, { error }) => sum + error, 0),
      variance: known ? same.reduce((sum, { variance }) => sum + variance!, 0) : undefined,
    }
  })
}

/** The choices with errors that do not rise with bytes within a family, and are not below 0; by bytes. */
function fitted<Level>(
  estimates: readonly Estimate<Level>[],
  familyOf: (level: Level) => string,
): Choice<Level>[] {
  // Of levels with equal bytes either may be the better one: the larger error first is no violation.
  const sorted = estimates.toSorted((a, b) => a.cost - b.cost || b.error - a.error)
  const errors = new Map<Level, number>()
  for (const family of new Set(sorted.map(({ level }) => familyOf(level)))) {
    const own = sorted.filter(({ level }) => familyOf(level) === family)
    const fit = nonIncreasing(
      own.map(({ error }) => error),
      precisions(own),
    )
    for (const [i, { level }] of own.entries()) errors.set(level, Math.max(0, fit[i]!))
  }
  return sorted.map(({ level, cost }) => ({ level, cost, error: errors.get(level)! }))
}

/**
 * 1 / variance, or equal weights where one is unknown. No standard error counts as less than a hundredth of the
 * largest, so that one that is 0 by chance does not decide alone.
 */
function precisions<Level>(estimates: readonly Estimate<Level>[]): number[] {
  const variances = estimates.map(({ variance }) => variance ?? Number.NaN)
  const largest = Math.max(...variances)
  if (!(largest > 0)) return estimates.map(() => 1)
  return variances.map((variance) => largest / Math.max(variance, 1e-4 * largest))
}
