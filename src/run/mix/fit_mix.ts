/** The mix with the least error within a size of the weight files. */
import { type AllocationItem, allocate, type Choice } from '../../search/allocate.ts'
import { allocationItems, type Sensitivity } from '../../search/sensitivity.ts'
import { OptionError } from '../../tensor/errors.ts'
import type { Limits } from '../limits.ts'
import type { MixChoice, MixItem, MixSpace } from './mix_space.ts'

/** Bytes of the weight files that are asked for, at most. */
export const budgetOf = ({ targetSize, targetBpw }: Limits, { parameters }: MixSpace): number =>
  targetSize ?? Math.floor((targetBpw! * parameters) / 8)

const smallest = ({ choices }: MixItem) => choices[0]!
const largest = ({ choices }: MixItem) => choices.at(-1)!
const costOf = (chosen: readonly MixChoice[]) => chosen.reduce((sum, { cost }) => sum + cost, 0)

/**
 * @throws OptionError (`PARE_E_BUDGET`) where no mix is so small, or none so large, with what is possible in the unit
 * that was asked for.
 */
export function checkBudget(limits: Limits, space: MixSpace): void {
  const bytes = budgetOf(limits, space)
  const [least, most] = [smallest, largest].map((of) => space.planOf(space.items.map(of)).fileBytes) as [
    number,
    number,
  ]
  if (bytes >= least && bytes <= most) return
  const bits = (size: number, round: (x: number) => number) => round((size * 8e4) / space.parameters) / 1e4
  const way =
    bytes < least
      ? 'ask for more, allow smaller levels, or name a smaller --embedding'
      : 'ask for less or allow larger levels'
  const sentence =
    limits.targetSize === undefined
      ? `--target-bpw: ${bits(least, Math.ceil)} to ${bits(most, Math.floor)} bits a weight over the file are possible with these levels, got ${limits.targetBpw}`
      : `--target-size: ${least} to ${most} bytes are possible with these levels, got ${bytes}`
  throw new OptionError(`${sentence}; ${way}`, {
    code: 'PARE_E_BUDGET',
    facts: { bytes, least, most, parameters: space.parameters },
  })
}

/** Between which sizes the file of a budget will be, whatever the errors are. */
export function sizeRange(limits: Limits, space: MixSpace): { least: number; most: number } {
  const most = budgetOf(limits, space)
  const { items, groups } = space
  const widest = ({ choices }: MixItem) =>
    choices.reduce((most, { cost }, i) => Math.max(most, cost - (choices[i - 1]?.cost ?? cost)), 0)
  // Whoever could still be raised by what is left over would have been.
  const step = Math.max(0, ...groups.map((group) => group.reduce((sum, i) => sum + widest(items[i]!), 0)))
  const [low, high] = [smallest, largest].map((of) => {
    const chosen = items.map(of)
    return { fixed: space.planOf(chosen).fileBytes - costOf(chosen), bytes: space.planOf(chosen).fileBytes }
  }) as [Ends, Ends]
  const headers = 2 * Math.abs(high.fixed - low.fixed) + 16
  return {
    least: Math.max(low.bytes, Math.min(Math.ceil(LEAST_SHARE * most), most - step - headers, high.bytes)),
    most,
  }
}
interface Ends {
  fixed: number
  bytes: number
}

/**
 * What all bytes together are worth, as a share of the range of all errors. The first is for errors that do not tell
 * levels apart; the others are for levels so coarse that the least error leaves more than 1% unspent.
 */
const WORTHS = [1e-6, 1e-4, 1e-2, 1, 1e2, 1e4]

/** The share of a size that is spent where the levels allow it. */
const LEAST_SHARE = 0.99

/**
 * One choice for each item, with the least error within the size. The size is what was asked for: of two mixes with the
 * same error the larger one is taken, and where levels allow it at least 99% are spent.
 *
 * @throws OptionError as `checkBudget`
 */
export function fitMix(space: MixSpace, limits: Limits, sensitivities: readonly Sensitivity[]): MixChoice[] {
  checkBudget(limits, space)
  const items = allocationItems({ sensitivities, groups: namedGroups(space) })
  const most = budgetOf(limits, space)
  let best: { chosen: MixChoice[]; bytes: number } | undefined
  for (const worth of WORTHS) {
    const found = fitItems(space, withWorth(items, worth), most)
    if (!best || found.bytes > best.bytes) best = found
    if (best.bytes >= LEAST_SHARE * most) break
  }
  return best!.chosen
}

/** The groups of several items, each named for its first. */
const namedGroups = ({ items, groups }: MixSpace): Record<string, string[]> =>
  Object.fromEntries(
    groups
      .filter((group) => group.length > 1)
      .map((group) => [`group of ${items[group[0]!]!.name}`, group.map((i) => items[i]!.name)]),
  )

function fitItems(
  space: MixSpace,
  items: readonly AllocationItem[],
  most: number,
): { chosen: MixChoice[]; bytes: number } {
  const cheapest = space.items.map(smallest)
  const least = space.planOf(cheapest).fileBytes
  const fixedCost = least - costOf(cheapest)
  const byName = new Map(items.map(({ name }, i) => [name, i]))
  const groupOf = new Map(
    Object.entries(namedGroups(space)).flatMap(([group, names]) => names.map((name) => [name, group])),
  )
  for (let budget = most; ; ) {
    const { chosen: levels } = allocate({ items, budget, fixedCost })
    const chosen = space.items.map(({ name, choices }) => {
      const { level } = levels[byName.get(groupOf.get(name) ?? name)!]!
      return choices.find((choice) => choice.level === level)!
    })
    const { fileBytes } = space.planOf(chosen)
    if (fileBytes <= most) return { chosen, bytes: fileBytes }
    if (budget === least) return { chosen: cheapest, bytes: least }
    // Headers grew with the choices.
    budget = Math.max(least, budget - (fileBytes - most))
  }
}

function withWorth(items: readonly AllocationItem[], worth: number): AllocationItem[] {
  const over = (of: (choice: Choice) => number) =>
    items.reduce((sum, { choices }) => sum + Math.max(...choices.map(of)) - Math.min(...choices.map(of)), 0)
  const [bytes, errors] = [over(({ cost }) => cost), over(({ error }) => error)]
  const price = bytes > 0 ? (worth * (errors || 1)) / bytes : 0
  return items.map(({ name, choices }) => {
    const most = Math.max(...choices.map(({ cost }) => cost))
    return {
      name,
      choices: choices.map((choice) => ({ ...choice, error: choice.error + price * (most - choice.cost) })),
    }
  })
}
