/**
 * The Lagrangian relaxation of an allocation: bytes get a price, and each item then chooses alone.
 *
 *   L(p) = sum_i min_j (e_ij + p c_ij) - p B        a lower bound of the error for every price p >= 0
 *   r_ij = e_ij + p c_ij - min_j (e_ij + p c_ij)    what choice j of item i adds to the bound
 *
 * The best p is the slope at which the budget B runs out when the edges of the lower convex hulls of all items are
 * bought in order of error saved for a byte (Sinha and Zoltners 1979, "The multiple-choice knapsack problem"). L(p) is
 * then also the optimum of the linear relaxation. An allocation of error U holds no choice with r_ij > U - L.
 */
import type { Menu } from './menu.ts'

export interface Relaxation {
  /** Error for a byte, p. 0 where every item can have its least error. */
  readonly price: number
  /** A place in each menu with r = 0; together they keep the budget. */
  readonly places: readonly number[]
  /** Bytes that `places` leave of the budget. */
  readonly slack: number
}

/** A step along the hull of one menu. */
interface Edge {
  readonly menu: number
  readonly to: number
  readonly cost: number
  /** Error saved for a byte; falls along a hull. */
  readonly slope: number
}

/** `room` is the budget less the least cost of every menu, in bytes and not negative. O(n log n) for n choices. */
export function relax(menus: readonly Menu[], room: number): Relaxation {
  const edges = menus.flatMap(hullEdges).sort((a, b) => b.slope - a.slope || a.menu - b.menu)
  const places = menus.map(() => 0)
  let slack = room
  for (const { menu, to, cost, slope } of edges) {
    if (cost > slack) return { price: slope, places, slack }
    slack -= cost
    places[menu] = to
  }
  return { price: 0, places, slack }
}

function hullEdges({ costs, errors }: Menu, menu: number): Edge[] {
  const edge = (from: number, to: number): Edge => {
    const cost = costs[to]! - costs[from]!
    return { menu, to, cost, slope: (errors[from]! - errors[to]!) / cost }
  }
  const corners = [0]
  const edges: Edge[] = []
  for (let next = 1; next < costs.length; next++) {
    let last = edge(corners.at(-1)!, next)
    while (edges.length > 0 && edges.at(-1)!.slope <= last.slope) {
      edges.pop()
      corners.pop()
      last = edge(corners.at(-1)!, next)
    }
    edges.push(last)
    corners.push(next)
  }
  return edges
}

/** Another place in a menu, as what it adds to that of the relaxation. */
export interface Move {
  readonly place: number
  /** Bytes. */
  readonly cost: number
  readonly error: number
}

/** An item with more than one choice that may be part of a better allocation. */
export interface CoreItem {
  readonly menu: number
  /** The place of the relaxation first, as a move of nothing; the others by place. */
  readonly moves: readonly Move[]
  /** The least r of the other moves. */
  readonly leastAdded: number
}

/** The items and moves whose r is at most `gap`, by their least r. */
export function coreOf(menus: readonly Menu[], { price, places }: Relaxation, gap: number): CoreItem[] {
  const core: CoreItem[] = []
  for (const [menu, { costs, errors }] of menus.entries()) {
    const stay = places[menu]!
    const others: Move[] = []
    let leastAdded = Number.POSITIVE_INFINITY
    for (let place = 0; place < costs.length; place++) {
      const [cost, error] = [costs[place]! - costs[stay]!, errors[place]! - errors[stay]!]
      const added = error + price * cost
      if (place === stay || added > gap) continue
      others.push({ place, cost, error })
      leastAdded = Math.min(leastAdded, added)
    }
    if (others.length === 0) continue
    core.push({ menu, moves: [{ place: stay, cost: 0, error: 0 }, ...others], leastAdded })
  }
  return core.sort((a, b) => a.leastAdded - b.leastAdded || a.menu - b.menu)
}
