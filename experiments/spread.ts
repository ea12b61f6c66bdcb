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
