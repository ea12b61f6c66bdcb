/** Means and spreads over seeds. */

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

/** Standard deviation over seeds, that of a sample; undefined for one. */
export function spread(values: readonly number[]): number | undefined {
  if (values.length < 2) return undefined
  const middle = mean(values)
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1))
}

export interface Spread {
  mean: number
  /** Standard deviation over seeds; absent for one seed. */
  spread?: number
  low: number
  high: number
  seeds: number
}

export function spreadOf(values: readonly number[]): Spread {
  const deviation = spread(values)
  return {
    mean: mean(values),
    ...(deviation === undefined ? {} : { spread: deviation }),
    low: Math.min(...values),
    high: Math.max(...values),
    seeds: values.length,
  }
}

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
