/**
 * The best allocation of a core, by dynamic programming over its items (after Pisinger 1995, "A minimal algorithm for
 * the multiple-choice knapsack problem": the items that add least to the Lagrangian bound first, and as many of them as
 * the best allocation so far leaves in question).
 *
 * Parents of states would fill items x states. Only every sqrt(2 n)-th list is kept, and what lies between two is
 * computed again when the result is traced back.
 */
import { type Limits, StateLists } from './core_states.ts'
import type { CoreItem } from './relaxation.ts'

export interface CoreSearch {
  readonly core: readonly CoreItem[]
  /** Error for a byte. */
  readonly price: number
  /** Bytes that may be added. */
  readonly slack: number
  /** What the best allocation known so far adds. */
  readonly known: { readonly cost: number; readonly error: number }
  /** Differences of error up to here are rounding. */
  readonly noise: number
  /** States of a list, at least 2. */
  readonly buckets: number
}

export interface CoreResult {
  /** The move of each item of the core, where one is better than what was known. */
  readonly moves?: number[]
  /** Nothing better exists. */
  readonly optimal: boolean
}

/** O(items x moves x buckets) time, O(sqrt(items) x buckets) memory. */
export function searchCore({ core, price, slack, known, noise, buckets }: CoreSearch): CoreResult {
  const rest = restOf(core)
  // A list holds one state for a number of bytes.
  const capacity = Math.max(2, Math.min(buckets, rest.most[0]! - rest.least[0]! + 1))
  const lists = new StateLists(capacity)
  const stride = Math.ceil(Math.sqrt(2 * core.length))
  const marks: { cost: Float64Array; error: Float64Array }[] = []
  const limits: Limits[] = []
  let best = known
  let found: { items: number; state: number } | undefined
  lists.start()
  for (const [index, item] of core.entries()) {
    const gap = best.error + price * slack
    if (gap <= noise) return { ...traced(), optimal: true }
    if (item.leastAdded > gap + noise || lists.states.count === 0) break
    if (index % stride === 0) marks.push(snapshot(lists))
    const [leastRest, mostRest] = [rest.least[index + 1]!, rest.most[index + 1]!]
    limits.push({ price, slack, added: gap + noise, leastRest, mostRest })
    lists.step(item, limits[index]!)
    const state = lastWithin(lists, slack)
    const [cost, error] = [lists.states.cost[state]!, lists.states.error[state]!]
    if (state >= 0 && (error < best.error || (error === best.error && cost < best.cost))) {
      best = { cost, error }
      found = { items: index + 1, state }
    }
  }
  return { ...traced(), optimal: !lists.thinned }

  function traced(): { moves?: number[] } {
    if (!found) return {}
    const moves = core.map(() => 0)
    const again = new StateLists(capacity)
    let { items: end, state } = found
    while (end > 0) {
      const start = Math.floor((end - 1) / stride) * stride
      again.load(marks[start / stride]!)
      const records = core.slice(start, end).map((item, i) => {
        again.step(item, limits[start + i]!)
        const { count, parent, move } = again.states
        return { parent: parent.slice(0, count), move: move.slice(0, count) }
      })
      for (end--; end >= start; end--) {
        moves[end] = records[end - start]!.move[state]!
        state = records[end - start]!.parent[state]!
      }
      end = start
    }
    return { moves }
  }
}

/** Least and most bytes that the items from each one on can add. */
function restOf(core: readonly CoreItem[]): { least: Float64Array; most: Float64Array } {
  const least = new Float64Array(core.length + 1)
  const most = new Float64Array(core.length + 1)
  for (let i = core.length - 1; i >= 0; i--) {
    const costs = core[i]!.moves.map(({ cost }) => cost)
    least[i] = least[i + 1]! + costs.reduce((a, b) => Math.min(a, b))
    most[i] = most[i + 1]! + costs.reduce((a, b) => Math.max(a, b))
  }
  return { least, most }
}

function snapshot({ states }: StateLists): { cost: Float64Array; error: Float64Array } {
  return { cost: states.cost.slice(0, states.count), error: states.error.slice(0, states.count) }
}

/** Index of the last state that adds at most `slack` bytes, which is the one of least error; -1 where none does. */
function lastWithin({ states }: StateLists, slack: number): number {
  let [low, high] = [0, states.count]
  while (low < high) {
    const middle = (low + high) >> 1
    if (states.cost[middle]! <= slack) low = middle + 1
    else high = middle
  }
  return low - 1
}
