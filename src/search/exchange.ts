/** Steps from an allocation to a better one that changes one item or two, in whole bytes. */
import type { CoreItem } from './relaxation.ts'

/** One change of one item. */
interface Change {
  /** Index in the core; -1 for no change. */
  readonly item: number
  readonly move: number
  readonly cost: number
  readonly error: number
}

export interface ExchangeTask {
  readonly core: readonly CoreItem[]
  /** The move of each item of the core now. */
  readonly moves: readonly number[]
  /** Bytes that may be added. */
  readonly slack: number
  /** Differences of error up to here are rounding. */
  readonly noise: number
}

/**
 * The moves after the best change of one item or two that fits, or nothing where none lowers the error, or keeps it
 * with fewer bytes. O(m log m) for m moves.
 */
export function exchange({ core, moves, slack, noise }: ExchangeTask): number[] | undefined {
  const changes = changesOf(core, moves)
  const partners = new Partners(changes)
  let best: { cost: number; error: number; pair: readonly Change[] } | undefined
  let reach = changes.length
  for (const first of changes) {
    while (reach > 0 && changes[reach - 1]!.cost > slack - first.cost) reach--
    const second = partners.best(reach, first.item)
    if (!second) continue
    const [cost, error] = [first.cost + second.cost, first.error + second.error]
    const better = best ? error < best.error || (error === best.error && cost < best.cost) : true
    if (better && (error < -noise || (error <= 0 && cost < 0))) best = { cost, error, pair: [first, second] }
  }
  if (!best) return undefined
  const after = [...moves]
  for (const { item, move } of best.pair) if (item >= 0) after[item] = move
  return after
}

/** Every change that saves bytes or error, and no change, by cost. */
function changesOf(core: readonly CoreItem[], moves: readonly number[]): Change[] {
  const changes: Change[] = [{ item: -1, move: 0, cost: 0, error: 0 }]
  for (const [item, { moves: all }] of core.entries()) {
    const now = all[moves[item]!]!
    for (const [move, { cost, error }] of all.entries()) {
      const change = { item, move, cost: cost - now.cost, error: error - now.error }
      if (change.cost < 0 || change.error < 0) changes.push(change)
    }
  }
  return changes.sort((a, b) => a.cost - b.cost || a.error - b.error || a.item - b.item || a.move - b.move)
}

/** For every number of first changes: the one with the least error, and the best of another item than that. */
class Partners {
  readonly #changes: readonly Change[]
  readonly #best: Int32Array
  readonly #other: Int32Array

  constructor(changes: readonly Change[]) {
    this.#changes = changes
    this.#best = new Int32Array(changes.length + 1).fill(-1)
    this.#other = new Int32Array(changes.length + 1).fill(-1)
    const errorOf = (index: number) => changes[index]?.error ?? Number.POSITIVE_INFINITY
    let [best, other] = [-1, -1]
    for (const [index, { item, error }] of changes.entries()) {
      if (error < errorOf(best)) {
        if (changes[best]?.item !== item) other = best
        best = index
      } else if (changes[best]!.item !== item && error < errorOf(other)) other = index
      this.#best[index + 1] = best
      this.#other[index + 1] = other
    }
  }

  /** The best of the first `count` changes that is not of `item`; no change may be made twice. */
  best(count: number, item: number): Change | undefined {
    const best = this.#changes[this.#best[count]!]
    return best && item >= 0 && best.item === item ? this.#changes[this.#other[count]!] : best
  }
}
