/**
 * The choices of an item that can be part of a best allocation.
 *
 * A choice is dominated where another of the same item needs no more bytes and has no more error. What remains
 * rises in bytes and falls in error.
 */

/** One item; `costs` rise strictly and `errors` fall strictly. */
export interface Menu {
  /** Index of the item. */
  readonly item: number
  /** Bytes. */
  readonly costs: readonly number[]
  readonly errors: readonly number[]
  /** Index of each choice in the list of its item. */
  readonly choices: readonly number[]
}

/** `allowed` are indices into `choices`. Of equal choices the earliest stays. */
export function menuOf(
  item: number,
  choices: readonly { cost: number; error: number }[],
  allowed: readonly number[],
): Menu {
  const order = allowed.toSorted((a, b) => {
    const [x, y] = [choices[a]!, choices[b]!]
    return x.cost - y.cost || x.error - y.error || a - b
  })
  let least = Number.POSITIVE_INFINITY
  const kept = order.filter((index) => {
    if (choices[index]!.error >= least) return false
    least = choices[index]!.error
    return true
  })
  return {
    item,
    costs: kept.map((index) => choices[index]!.cost),
    errors: kept.map((index) => choices[index]!.error),
    choices: kept,
  }
}

/** Menus by what is in them, so that sums and ties do not depend on the order of the items. */
export function byContents(menus: readonly Menu[]): Menu[] {
  return menus.toSorted((a, b) => compareMenus(a, b) || a.item - b.item)
}

/** Of items with the same menu the earlier get more bytes. Works in place on one place of each menu. */
export function settleAlike(menus: readonly Menu[], places: number[]): void {
  for (let start = 0, end = 1; start < menus.length; start = end, end = start + 1) {
    while (end < menus.length && compareMenus(menus[start]!, menus[end]!) === 0) end++
    const sorted = places.slice(start, end).sort((a, b) => b - a)
    for (const [i, place] of sorted.entries()) places[start + i] = place
  }
}

function compareMenus(a: Menu, b: Menu): number {
  return (
    a.costs.length - b.costs.length ||
    firstDifference(a.costs, b.costs) ||
    firstDifference(a.errors, b.errors)
  )
}

function firstDifference(a: readonly number[], b: readonly number[]): number {
  for (const [i, value] of a.entries()) if (value !== b[i]) return value - b[i]!
  return 0
}
