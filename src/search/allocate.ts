/**
 * Allocation: one choice for each item, so that all together fit a budget and their errors add up to least. This is the
 * multiple-choice knapsack problem.
 *
 *   minimise  sum_i e_i(j_i)   subject to   sum_i c_i(j_i) + fixed <= budget
 *
 * 1. Dominated choices go (menu.ts).
 * 2. The Lagrangian relaxation gives a lower bound, a price of a byte, and an allocation to start from (relaxation.ts).
 * 3. Exchanges of one item or two spend what it left (exchange.ts). The distance to the bound now excludes most
 *    choices.
 * 4. Dynamic programming over what remains (core_search.ts) finds the best allocation. Where it holds more states than
 *    `buckets`, it thins them and may miss it; exchanges follow.
 *
 * Costs are never rounded, so that the budget is kept in whole bytes for every number of buckets.
 */
import { OptionError, printable } from '../tensor/errors.ts'
import { searchCore } from './core_search.ts'
import { exchange } from './exchange.ts'
import { byContents, type Menu, menuOf, settleAlike } from './menu.ts'
import { type CoreItem, coreOf, type Relaxation, relax } from './relaxation.ts'

export interface Choice<Level = string> {
  /** What the caller knows the choice by: a scheme, a number of bits, a rank. */
  readonly level: Level
  /** Bytes; a whole number from 0 on. */
  readonly cost: number
  /** In any unit that adds up over items; finite, from 0 on. */
  readonly error: number
}

/** A matrix, or a group of matrices that share their level. */
export interface AllocationItem<Level = string> {
  readonly name: string
  /** In any order. */
  readonly choices: readonly Choice<Level>[]
}

/** Which levels an item may have. To force one, name it alone in `only`. */
export interface LevelBounds<Level = string> {
  readonly only?: readonly Level[]
  readonly never?: readonly Level[]
}

export interface AllocateOptions<Level = string> {
  readonly items: readonly AllocationItem<Level>[]
  /** Bytes for all items and `fixedCost`; a whole number. */
  readonly budget: number
  /** Bytes of what no choice changes: norms, embeddings, headers. @default 0 */
  readonly fixedCost?: number
  /** Partial allocations held at a time, 2 to 2^20. @default 4096 */
  readonly buckets?: number
  /** By the name of the item. @default none */
  readonly bounds?: Readonly<Record<string, LevelBounds<Level>>>
}

export interface Allocation<Level = string> {
  /** One of each item's choices, in the order of the items. */
  readonly chosen: readonly Choice<Level>[]
  /** Bytes with `fixedCost`; at most the budget. */
  readonly cost: number
  /** Sum over the chosen. */
  readonly error: number
  /** No allocation has less error: the bound of the Lagrangian relaxation. */
  readonly lowerBound: number
  /** Whether `error` is proved to be the least, up to rounding. */
  readonly optimal: boolean
}

/** Rounding errors of the sums, as a share of what is summed. */
const ROUNDING = 2 ** -40

/** Of all items; a price times bytes stays finite. */
const LARGEST_ERROR = 2 ** 900

/**
 * The least error within a budget.
 *
 * The result is optimal where the partial allocations that matter are at most `buckets`: always where the range of
 * total costs has no more different values, and else as `optimal` says. Of equal errors the one with fewer bytes is
 * taken, of equal choices the earlier, and of items alike the earlier get more bytes; otherwise the order of items does
 * not matter. Time is O(n log n + m buckets) for n choices, m of which the bounds leave open (few in practice), and
 * memory O(n + sqrt(items) buckets): 11 MB of tables at most for 10 000 items and 4096 buckets.
 *
 * @throws OptionError where no allocation fits (`PARE_E_BUDGET`, with the least budget that would), and for costs,
 * errors, names and bounds that cannot be used.
 * @example
 * const choices = (small: number, large: number) => [
 *   { level: 'q3', cost: 300, error: small },
 *   { level: 'q4', cost: 400, error: large },
 * ]
 * const items = [
 *   { name: 'up', choices: choices(5, 2) },
 *   { name: 'down', choices: choices(9, 3) },
 * ]
 * const { chosen, cost, error } = allocate({ items, budget: 750 })
 * // chosen.map((choice) => choice.level) is ['q3', 'q4'], cost 700, error 8
 */
export function allocate<Level extends string | number>(options: AllocateOptions<Level>): Allocation<Level> {
  const { items, budget, fixedCost = 0, buckets = 4096, bounds = {} } = options
  checkNumbers({ budget, fixedCost, buckets })
  checkBounds(items, bounds)
  const boundsOf = (name: string) => (Object.hasOwn(bounds, name) ? bounds[name] : undefined)
  const menus = byContents(
    items.map((item, index) => menuOf(index, item.choices, allowedChoices(item, boundsOf(item.name)))),
  )
  const least = sum(menus, ({ costs }) => costs[0]!) + fixedCost
  const most = sum(menus, ({ costs }) => costs.at(-1)!) + fixedCost
  if (!Number.isSafeInteger(most))
    throw new OptionError(
      `allocation: costs add up to ${most} bytes, more than 2^53; leave out what is so large`,
    )
  const largest = sum(menus, ({ errors }) => errors[0]!)
  if (!(largest <= LARGEST_ERROR))
    throw new OptionError(`allocation: errors add up to ${largest}, more than 2^900; scale them down`)
  if (least > budget) throw budgetError(budget, least, fixedCost, items.length)
  const { places, bound, optimal } = bestPlaces(menus, budget - least, buckets)
  settleAlike(menus, places)

  const chosen = Array<Choice<Level>>(items.length)
  for (const [i, { item, choices }] of menus.entries())
    chosen[item] = items[item]!.choices[choices[places[i]!]!]!
  const error = sum(menus, ({ errors }, i) => errors[places[i]!]!)
  const cost = sum(chosen, (choice) => choice.cost) + fixedCost
  return { chosen, cost, error, lowerBound: Math.min(Math.max(0, bound), error), optimal }
}

/** A place in each menu, at most `room` bytes above the first places. */
function bestPlaces(
  menus: readonly Menu[],
  room: number,
  buckets: number,
): { places: number[]; bound: number; optimal: boolean } {
  const relaxation = relax(menus, room)
  const { price, slack } = relaxation
  const start = sum(menus, ({ errors }, i) => errors[relaxation.places[i]!]!)
  const bound = start - price * slack
  if (price === 0) return { places: [...relaxation.places], bound, optimal: true }

  const noise = ROUNDING * (start + price * room)
  const before = exchanged({ menus, relaxation, places: relaxation.places, noise })
  const known = added(before.core, before.moves)
  const { core } = before
  const { moves = before.moves, optimal } = searchCore({ core, price, slack, known, noise, buckets })
  const found = placesAfter(relaxation, core, moves)
  if (optimal) return { places: found, bound, optimal }
  const after = exchanged({ menus, relaxation, places: found, noise })
  const places = placesAfter(relaxation, after.core, after.moves)
  return { places, bound, optimal: added(after.core, after.moves).error + price * slack <= noise }
}

/** Exchanges from `places` on until none is left, and the core that the last allocation leaves. */
function exchanged({
  menus,
  relaxation,
  places,
  noise,
}: {
  menus: readonly Menu[]
  relaxation: Relaxation
  places: readonly number[]
  noise: number
}): { core: CoreItem[]; moves: number[] } {
  const { price, slack } = relaxation
  let now = places
  for (;;) {
    const error = sum(menus, ({ errors }, i) => errors[now[i]!]! - errors[relaxation.places[i]!]!)
    const core = coreOf(menus, relaxation, error + price * slack + noise)
    const moves = core.map(({ menu, moves }) => moves.findIndex(({ place }) => place === now[menu]))
    const next = exchange({ core, moves, slack: slack - added(core, moves).cost, noise })
    if (!next) return { core, moves }
    now = placesAfter(relaxation, core, next)
  }
}

function placesAfter({ places }: Relaxation, core: readonly CoreItem[], moves: readonly number[]): number[] {
  const after = [...places]
  for (const [i, { menu, moves: all }] of core.entries()) after[menu] = all[moves[i]!]!.place
  return after
}

function added(core: readonly CoreItem[], moves: readonly number[]): { cost: number; error: number } {
  return {
    cost: sum(core, (item, i) => item.moves[moves[i]!]!.cost),
    error: sum(core, (item, i) => item.moves[moves[i]!]!.error),
  }
}

function sum<T>(list: readonly T[], of: (value: T, index: number) => number): number {
  let total = 0
  for (const [index, value] of list.entries()) total += of(value, index)
  return total
}

function checkNumbers(numbers: { budget: number; fixedCost: number; buckets: number }): void {
  const { budget, fixedCost, buckets } = numbers
  for (const [name, bytes] of Object.entries({ budget, fixedCost })) {
    if (Number.isSafeInteger(bytes) && bytes >= 0) continue
    throw new OptionError(`${name} must be a whole number of bytes from 0 on, got ${bytes}; round it down`)
  }
  if (!(Number.isInteger(buckets) && buckets >= 2 && buckets <= 2 ** 20))
    throw new OptionError(`buckets must be a whole number from 2 to 2^20, got ${buckets}; 4096 is usual`)
}

function checkBounds<Level>(
  items: readonly AllocationItem<Level>[],
  bounds: Readonly<Record<string, LevelBounds<Level>>>,
): void {
  const names = new Set<string>()
  for (const { name } of items) {
    if (names.has(name)) throw new OptionError(`${printable(name)}: two items have this name; rename one`)
    names.add(name)
  }
  for (const name of Object.keys(bounds)) {
    if (names.has(name)) continue
    throw new OptionError(`bounds: no item is named ${printable(name)}; take it out or correct the name`)
  }
}

/** Indices of the choices that the bounds leave, after a check of every number. */
function allowedChoices<Level extends string | number>(
  { name, choices }: AllocationItem<Level>,
  { only, never = [] }: LevelBounds<Level> = {},
): number[] {
  for (const choice of choices) checkChoice(name, choice)
  for (const level of [...(only ?? []), ...never]) {
    if (choices.some((choice) => choice.level === level)) continue
    throw new OptionError(
      `${printable(name)}: bounds name the level ${printable(String(level))}, which is no choice of it; correct it`,
    )
  }
  const allowed = choices.flatMap(({ level }, index) =>
    (only?.includes(level) ?? true) && !never.includes(level) ? [index] : [],
  )
  if (allowed.length > 0) return allowed
  throw new OptionError(
    `${printable(name)}: needs a choice, and the bounds leave none of ${choices.length}; allow a level`,
  )
}

function checkChoice<Level extends string | number>(
  name: string,
  { level, cost, error }: Choice<Level>,
): void {
  const label = () => `${printable(name)}, ${printable(String(level))}`
  if (!(Number.isSafeInteger(cost) && cost >= 0))
    throw new OptionError(
      `${label()}: cost must be a whole number of bytes from 0 on, got ${cost}; round it up`,
    )
  if (!(Number.isFinite(error) && error >= 0))
    throw new OptionError(
      `${label()}: error must be finite and from 0 on, got ${error}; leave the choice out`,
    )
}

function budgetError(budget: number, least: number, fixedCost: number, items: number): OptionError {
  return new OptionError(
    `budget: the least possible is ${least} bytes (${items} items at their smallest, and ${fixedCost} fixed), ` +
      `got ${budget}; raise it to ${least} or allow smaller levels`,
    { code: 'PARE_E_BUDGET', facts: { budget, least, fixedCost, items } },
  )
}
