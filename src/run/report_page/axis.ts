/** Axes: round ticks and the way from numbers to places. */

/** Round numbers (1, 2 or 5 times a power of 10) from at most `low` to at least `high`, about `count` steps. */
export function roundTicks(low: number, high: number, count = 5): number[] {
  if (!(high > low))
    return roundTicks(low - Math.max(1, Math.abs(low)) / 2, low + Math.max(1, Math.abs(low)) / 2, count)
  const step = roundStep((high - low) / count)
  const first = Math.floor(low / step + 1e-9)
  const last = Math.ceil(high / step - 1e-9)
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)))
}

/** The smallest round number that is not below `least`. */
export function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least))
  const factor = [1, 2, 5].find((each) => each * power >= least * (1 - 1e-9)) ?? 10
  return factor * power
}

/** Digits after the point that tell neighbouring ticks apart. */
export function tickDigits(ticks: readonly number[]): number {
  const step = ticks.length > 1 ? ticks[1]! - ticks[0]! : 1
  return Math.max(0, -Math.floor(Math.log10(step) + 1e-9))
}

export interface Axis {
  readonly ticks: readonly number[]
  /** Place of a value; values outside of the axis lie at its ends. */
  at(value: number): number
}

/** An axis of exactly 0 to `high` over the places `from` to `to`, with the ticks that lie in it. */
export function exactAxis(high: number, from: number, to: number, count = 5): Axis {
  const ticks = roundTicks(0, high, count).filter((tick) => tick <= high)
  return { ticks, at: place(0, high, from, to) }
}

/** An axis whose ticks span `low` to `high`, laid over the places `from` to `to`. */
export function axis(low: number, high: number, from: number, to: number, count = 5): Axis {
  const ticks = roundTicks(low, high, count)
  return { ticks, at: place(ticks[0]!, ticks.at(-1)!, from, to) }
}

/** A logarithmic axis of whole powers of 10 around `low` to `high`, both above 0. */
export function logarithmicAxis(low: number, high: number, from: number, to: number): Axis {
  const first = Math.floor(Math.log10(low) + 1e-9)
  const last = Math.max(first + 1, Math.ceil(Math.log10(high) - 1e-9))
  const inside = place(first, last, from, to)
  return {
    ticks: Array.from({ length: last - first + 1 }, (_, i) => Number(`1e${first + i}`)),
    at: (value) => (value > 0 ? inside(Math.log10(value)) : from),
  }
}

const place = (low: number, high: number, from: number, to: number) => (value: number) => {
  const share = Math.min(1, Math.max(0, (value - low) / (high - low)))
  return Math.round((from + share * (to - from)) * 100) / 100
}
