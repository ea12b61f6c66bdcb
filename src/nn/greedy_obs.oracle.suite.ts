/** Greedy optimal brain surgeon on one row in plain loops: every removal downdates the whole inverse at once. */

export class OracleRow {
  readonly weight: Float64Array
  /** [n, n] */
  readonly inverse: Float64Array
  readonly live: boolean[]
  private readonly n: number

  constructor(weight: ArrayLike<number>, inverse: ArrayLike<number>) {
    this.weight = Float64Array.from(weight)
    this.inverse = Float64Array.from(inverse)
    this.n = weight.length
    this.live = Array(this.n).fill(true)
  }

  /** The column becomes `value`; returns what it costs. */
  remove(p: number, value = 0): number {
    const { n, weight, inverse } = this
    const column = Float64Array.from({ length: n }, (_, i) => inverse[i * n + p]!)
    const pivot = column[p]!
    const error = weight[p]! - value
    for (let i = 0; i < n; i++) weight[i]! -= (column[i]! * error) / pivot
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) inverse[i * n + j]! -= (column[i]! * column[j]!) / pivot
    weight[p] = value
    this.live[p] = false
    for (let i = 0; i < n; i++) {
      inverse[i * n + p] = 0
      inverse[p * n + i] = 0
      if (!this.live[i]) inverse[i * n + i] = 1
    }
    return (error * error) / (2 * pivot)
  }

  /** The first of the live columns with the least score. */
  least(score: (p: number) => number): number {
    let best = -1
    for (let p = 0; p < this.n; p++)
      if (this.live[p] && score(p) < Number.POSITIVE_INFINITY && (best < 0 || score(p) < score(best)))
        best = p
    return best
  }

  diagonal(p: number): number {
    return this.inverse[p * (this.n + 1)]!
  }

  /** w_B (M_BB)^-1 w_B over the live columns of a block, by elimination. */
  blockScore(columns: readonly number[]): number {
    const kept = columns.filter((p) => this.live[p])
    const rows = kept.map((p) => [...kept.map((q) => this.inverse[p * this.n + q]!), this.weight[p]!])
    for (const [i, row] of rows.entries())
      for (const below of rows.slice(i + 1)) {
        const factor = below[i]! / row[i]!
        for (let k = i; k < below.length; k++) below[k]! -= factor * row[k]!
      }
    // Of the eliminated system L^-1 w, each square over its pivot adds up to the form.
    return rows.reduce((sum, row, i) => sum + row.at(-1)! ** 2 / row[i]!, 0)
  }
}

export interface OracleSteps {
  order: number[]
  losses: number[]
  /** The row before the first step, and after each. */
  rows: Float64Array[]
  state: OracleRow
}

/** Removes units of `width` columns until none is left. */
export function oracleTrace(weight: ArrayLike<number>, inverse: ArrayLike<number>, width = 1): OracleSteps {
  const state = new OracleRow(weight, inverse)
  const units = Math.ceil(weight.length / width)
  const columnsOf = (unit: number) =>
    Array.from({ length: Math.min(width, weight.length - unit * width) }, (_, i) => unit * width + i)
  const steps: OracleSteps = { order: [], losses: [], rows: [state.weight.slice()], state }
  for (let step = 0; step < units; step++) {
    let best = -1
    let least = Number.POSITIVE_INFINITY
    for (let unit = 0; unit < units; unit++) {
      if (steps.order.includes(unit)) continue
      const score = state.blockScore(columnsOf(unit))
      if (score < least) [best, least] = [unit, score]
    }
    steps.order.push(best)
    steps.losses.push(columnsOf(best).reduce((sum, column) => sum + state.remove(column), 0))
    steps.rows.push(state.weight.slice())
  }
  return steps
}

/** Removes columns until each group of m has `zeros` of them. */
export function oracleGroups(
  weight: ArrayLike<number>,
  inverse: ArrayLike<number>,
  m: number,
  zeros: number,
): OracleRow {
  const state = new OracleRow(weight, inverse)
  const counts = new Uint32Array(weight.length / m)
  for (let step = 0; step < counts.length * zeros; step++) {
    const p = state.least((column) =>
      counts[Math.floor(column / m)]! < zeros
        ? state.weight[column]! ** 2 / state.diagonal(column)
        : Number.POSITIVE_INFINITY,
    )
    counts[Math.floor(p / m)]!++
    state.remove(p)
  }
  return state
}

/** Rounds every column with a scale and a zero; those that `mask` does not keep are isolated before. */
export function oracleQuantize(
  weight: ArrayLike<number>,
  inverse: ArrayLike<number>,
  { bits, scale, zero, mask }: { bits: number; scale: number; zero: number; mask?: ArrayLike<number> },
): { codes: Uint8Array; loss: number; state: OracleRow } {
  const state = new OracleRow(weight, inverse)
  const codes = new Uint8Array(weight.length).fill(zero)
  if (mask)
    for (let p = 0; p < weight.length; p++)
      if (!mask[p]) {
        state.weight[p] = 0
        state.remove(p)
      }
  const halfToEven = (x: number) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x))
  const codeOf = (p: number) =>
    Math.min(2 ** bits - 1, Math.max(0, halfToEven(state.weight[p]! / scale) + zero))
  const error = (p: number) => (scale * (codeOf(p) - zero) - state.weight[p]!) ** 2
  let loss = 0
  while (state.live.includes(true)) {
    const farthest = state.least((p) => -error(p))
    const isOutside = error(farthest) > 0.25 * scale * scale * (1 + 1e-9)
    const p = isOutside ? farthest : state.least((column) => error(column) / state.diagonal(column))
    codes[p] = codeOf(p)
    loss += state.remove(p, scale * (codes[p]! - zero))
  }
  return { codes, loss, state }
}
