/**
 * Stitching: one level for each layer of a database, so that the errors add up to least within a budget.
 *
 *   minimise  sum_l e_l(s_l)   subject to   sum_l c_l(s_l) <= base / target     arXiv:2208.11580, section 4, by `allocate`
 *
 * Errors of layers do not simply add up. The search of SPDY (Frantar and Alistarh 2022, arXiv:2201.13096) multiplies those
 * of each layer by a coefficient in [0, 1] before the allocation, and judges the stitched network by its real loss: first
 * random coefficients, then the best of them with some drawn anew, from a tenth of the layers down to one.
 */
import type { IndexedLayer } from '../calibrate/level_index.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { randomStream, scope } from '../tensor/index.ts'
import { type AllocationItem, allocate } from './allocate.ts'
import { costOfLevel, type LevelCosts } from './level_costs.ts'

/** Level of each layer. */
export type Profile = Readonly<Record<string, string>>

/** What `target` divides. */
export type CostBase =
  /** The most expensive level of each layer in the database: what the published code takes. */
  | 'dearest levels'
  /** Cost of the uncompressed network, in the unit of the costs. */
  | number

export interface StitchOptions {
  readonly layers: readonly IndexedLayer[]
  readonly costs: LevelCosts
  /** How many times cheaper than the base; above 0. */
  readonly target: number
  /** @default 'dearest levels' */
  readonly base?: CostBase
  /** Errors in place of those of the database: the loss with only this level in place, say. */
  readonly errors?: (layer: string, level: string) => number
  /** @default none: the allocation of the errors as they are */
  readonly search?: CoefficientSearch
}

export interface CoefficientSearch {
  /** The loss of the stitched network, on calibration data; lower is better. Called once for each different profile. */
  readonly judge: (profile: Profile) => number
  /** Random coefficients to begin with. @default 100 */
  readonly starts?: number
  /** Draws for each number of coefficients that is drawn anew. @default 100 */
  readonly tries?: number
  /** @default 0 */
  readonly seed?: number
}

export interface Stitched {
  readonly profile: Profile
  readonly cost: number
  /** Sum of the errors as they are. */
  readonly error: number
  readonly budget: number
  /** Cost that `target` divides, and what it is. */
  readonly base: { readonly cost: number; readonly kind: CostBase }
  /** Of the search: the loss that was judged, and the profiles that were. */
  readonly judged?: { readonly loss: number; readonly profiles: number }
}

/**
 * @throws OptionError for targets that no levels reach (`PARE_E_BUDGET`), and for errors and costs that cannot be used
 * @example stitch({ layers: openLevels(folder).layers, costs: { kind: 'flops' }, target: 2 }).profile
 */
export function stitch({
  layers,
  costs,
  target,
  base = 'dearest levels',
  errors,
  search,
}: StitchOptions): Stitched {
  if (!(target > 0 && Number.isFinite(target)))
    throw new OptionError(`stitch: the target must be above 0, got ${target}; 2 halves the cost`)
  const items = layers.map((layer): AllocationItem => {
    const choices = layer.levels.map((level) => ({
      level: level.level,
      cost: costOfLevel(costs, layer, level),
      error: errors ? errors(layer.name, level.level) : level.error,
    }))
    return { name: layer.name, choices }
  })
  const dearest = items.reduce((sum, { choices }) => sum + Math.max(...choices.map(({ cost }) => cost)), 0)
  const baseCost = base === 'dearest levels' ? dearest : base
  if (!(baseCost >= 0 && Number.isFinite(baseCost)))
    throw new OptionError(`stitch: the base must be a cost from 0 on, got ${baseCost}`)
  const budget = Math.floor(baseCost / target)
  const stitched = (coefficients?: readonly number[]): Omit<Stitched, 'judged'> => {
    const weighed = items.map(({ name, choices }, i) => ({
      name,
      choices: coefficients
        ? choices.map((choice) => ({ ...choice, error: choice.error * coefficients[i]! }))
        : choices,
    }))
    const { chosen, cost } = allocate({ items: weighed, budget, buckets: 10_000 })
    const error = chosen.reduce(
      (sum, { level }, i) => sum + items[i]!.choices.find((choice) => choice.level === level)!.error,
      0,
    )
    const profile = Object.fromEntries(items.map(({ name }, i) => [name, chosen[i]!.level]))
    return { profile, cost, error, budget, base: { cost: baseCost, kind: base } }
  }
  return search ? searched(items.length, stitched, search) : stitched()
}

function searched(
  count: number,
  stitched: (coefficients?: readonly number[]) => Omit<Stitched, 'judged'>,
  { judge, starts = 100, tries = 100, seed = 0 }: CoefficientSearch,
): Stitched {
  for (const [name, value] of Object.entries({ starts, tries }))
    if (!(Number.isSafeInteger(value) && value >= 0))
      throw new OptionError(`stitch: ${printable(name)} must be a whole number from 0 on, got ${value}`)
  const stream = randomStream(seed, 'stitching coefficients')
  const uniform = (size: number) => scope(() => Array.from(stream.uniform([size], 'f64').toArray(), Number))
  const losses = new Map<string, number>()
  const lossOf = (profile: Profile): number => {
    const key = JSON.stringify(profile)
    const known = losses.get(key)
    if (known !== undefined) return known
    const loss = judge(profile)
    // A network that no longer works may have no loss; it never wins.
    const usable = Number.isNaN(loss) ? Number.POSITIVE_INFINITY : loss
    losses.set(key, usable)
    return usable
  }
  // The errors as they are come first, so that the search never ends with something worse.
  let best = stitched()
  let coefficients = Array<number>(count).fill(1)
  let least = lossOf(best.profile)
  const consider = (drawn: number[]) => {
    const found = stitched(drawn)
    const loss = lossOf(found.profile)
    if (loss < least) [best, coefficients, least] = [found, drawn, loss]
  }
  if (count > 0) {
    for (let i = 0; i < starts; i++) consider(uniform(count))
    for (let resampled = Math.max(1, Math.floor(0.1 * count)); resampled >= 1; resampled--)
      for (let i = 0; i < tries; i++) {
        const drawn = [...coefficients]
        for (const place of uniform(resampled)) drawn[Math.floor(place * count)] = uniform(1)[0]!
        consider(drawn)
      }
  }
  return { ...best, judged: { loss: least, profiles: losses.size } }
}
