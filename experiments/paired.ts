/** Two trainings held against each other over the seeds that both have. */
import { type Spread, spreadOf } from './spread.ts'

export interface Seeded {
  seed: number
  score: number
}

export interface Pair {
  better: number
  worse: number
  /** Of the first less the second, seed by seed. */
  difference: Spread
}

/** Means over common seeds, and the spread of the differences; undefined where no seed is common. */
export function paired(better: readonly Seeded[], worse: readonly Seeded[]): Pair | undefined {
  const pairs = better.flatMap(({ seed, score }) => {
    const other = worse.find((run) => run.seed === seed)
    return other ? [[score, other.score] as const] : []
  })
  if (pairs.length === 0) return undefined
  const [a, b] = [pairs.map(([score]) => score), pairs.map(([, score]) => score)]
  return {
    better: spreadOf(a).mean,
    worse: spreadOf(b).mean,
    difference: spreadOf(pairs.map(([x, y]) => x - y)),
  }
}

/**
 * What a claim found, such as `84.00% against 80.00%, by 4.00 ± 0.50 points over 3 seeds`.
 *
 * @param sign -1 where lower is better
 */
export function foundOf(
  pair: Pair | undefined,
  {
    show,
    unit,
    digits,
    factor = 1,
    sign = 1,
  }: { show: (score: number) => string; unit: string; digits: number; factor?: number; sign?: 1 | -1 },
): string {
  if (!pair) return 'no seed that both have'
  const { mean, spread, seeds } = pair.difference
  const by = `${(sign * factor * mean).toFixed(digits)}${spread === undefined ? '' : ` ± ${(factor * spread).toFixed(digits)}`}`
  return `${show(pair.better)} against ${show(pair.worse)}, by ${by} ${unit} over ${seeds} ${seeds === 1 ? 'seed' : 'seeds'}`
}
