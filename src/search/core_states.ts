/**
 * Partial allocations of a core, at most a given number of them.
 *
 * A list holds states by rising bytes and falling error: one that needs no fewer bytes than another and has no less
 * error is dropped. Where more states remain than the list may hold, its range of bytes is cut into buckets, and each
 * keeps the state that adds least to the Lagrangian bound. States keep their own bytes and error, so that nothing is
 * rounded. Bytes and errors are those added to the places of the relaxation.
 */
import type { CoreItem } from './relaxation.ts'

interface StateList {
  count: number
  readonly cost: Float64Array
  readonly error: Float64Array
  /** Index of the state before the last item. */
  readonly parent: Uint32Array
  /** Move of the last item. */
  readonly move: Uint32Array
}

/** What a state must keep to be of use. */
export interface Limits {
  /** Error for a byte, p. */
  readonly price: number
  /** Bytes that the whole core may add. */
  readonly slack: number
  /** What a state may add to the bound, e + p c. */
  readonly added: number
  /** Least and most bytes that the items after this one can add. */
  readonly leastRest: number
  readonly mostRest: number
}

function emptyStates(capacity: number): StateList {
  return {
    count: 0,
    cost: new Float64Array(capacity),
    error: new Float64Array(capacity),
    parent: new Uint32Array(capacity),
    move: new Uint32Array(capacity),
  }
}

/** Three lists that take turns, and whether any was thinned. */
export class StateLists {
  states: StateList
  thinned = false
  #spare: [StateList, StateList]
  readonly #buckets: number

  constructor(buckets: number) {
    this.#buckets = buckets
    // Two lists are merged before the result is thinned; a last bucket can be due to rounding.
    const capacity = 2 * (buckets + 1)
    this.states = emptyStates(capacity)
    this.#spare = [emptyStates(capacity), emptyStates(capacity)]
  }

  /** One state, that adds nothing. */
  start(): void {
    this.load({ cost: Float64Array.of(0), error: Float64Array.of(0) })
  }

  load({ cost, error }: { cost: Float64Array; error: Float64Array }): void {
    this.states.cost.set(cost)
    this.states.error.set(error)
    this.states.count = cost.length
  }

  /** Every state with every move of `item`. O(moves x buckets). */
  step(item: CoreItem, limits: Limits): void {
    const from = this.states
    let [kept, next] = this.#spare
    kept.count = 0
    for (const [index, { cost, error }] of item.moves.entries()) {
      merge(next, kept, from, { index, cost, error }, limits)
      if (next.count > this.#buckets) {
        thin(next, this.#buckets, limits)
        this.thinned = true
      }
      ;[kept, next] = [next, kept]
    }
    this.states = kept
    this.#spare = [from, next]
  }
}

/** `into` becomes `kept` and the states of `from` after `move`, without those of no use. */
function merge(
  into: StateList,
  kept: StateList,
  from: StateList,
  move: { index: number; cost: number; error: number },
  { price, slack, added, leastRest, mostRest }: Limits,
): void {
  const [keptCount, fromCount] = [kept.count, from.count]
  let [k, f, count] = [0, 0, 0]
  let last = Number.POSITIVE_INFINITY
  while (k < keptCount || f < fromCount) {
    const cost = f < fromCount ? from.cost[f]! + move.cost : Number.POSITIVE_INFINITY
    const error = f < fromCount ? from.error[f]! + move.error : Number.POSITIVE_INFINITY
    if (k < keptCount && (kept.cost[k]! < cost || (kept.cost[k]! === cost && kept.error[k]! <= error))) {
      if (kept.error[k]! < last) {
        last = kept.error[k]!
        copy(into, count++, kept, k)
      }
      k++
      continue
    }
    // Bytes that cannot be spent any more cost their price.
    const unspent = Math.max(0, slack - cost - mostRest)
    if (error < last && cost + leastRest <= slack && error + price * (cost + unspent) <= added) {
      last = error
      into.cost[count] = cost
      into.error[count] = error
      into.parent[count] = f
      into.move[count] = move.index
      count++
    }
    f++
  }
  into.count = count
}

/** Buckets end at `slack`, so that a state within it does not yield to one beyond. */
function thin(list: StateList, buckets: number, { price, slack }: Limits): void {
  const width = (list.cost[list.count - 1]! - list.cost[0]!) / (buckets - 1)
  const addedBy = (i: number) => list.error[i]! + price * list.cost[i]!
  let kept = -1
  let bucket = Number.NEGATIVE_INFINITY
  for (let i = 0; i < list.count; i++) {
    const own = Math.ceil((list.cost[i]! - slack) / width)
    if (own > bucket) kept++
    else if (addedBy(i) >= addedBy(kept)) continue
    bucket = own
    copy(list, kept, list, i)
  }
  list.count = kept + 1
}

function copy(into: StateList, at: number, from: StateList, i: number): void {
  into.cost[at] = from.cost[i]!
  into.error[at] = from.error[i]!
  into.parent[at] = from.parent[i]!
  into.move[at] = from.move[i]!
}
