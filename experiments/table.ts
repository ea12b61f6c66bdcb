/** Runs and their spreads as tables of a page. */
import type { Spread } from './spread.ts'

/** `0.95 ± 0.01`, or the mean alone where there is one seed. */
export const showSpread = ({ mean, spread }: Spread, digits: number, factor = 1): string =>
  `${(factor * mean).toFixed(digits)}${spread === undefined ? '' : ` ± ${(factor * spread).toFixed(digits)}`}`

/** Runs by a name, in the order in which the names first stand. */
export function groupBy<R>(runs: readonly R[], nameOf: (run: R) => string): R[][] {
  const groups = new Map<string, R[]>()
  for (const run of runs) {
    const name = nameOf(run)
    const group = groups.get(name)
    if (group) group.push(run)
    else groups.set(name, [run])
  }
  return [...groups.values()]
}

/** A Markdown table. */
export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
