/** The search over codes as loops over its definition: every candidate is decoded and its whole loss computed. */

export interface PlainCodebooks {
  /** [down, across, books] */
  codes: Uint32Array
  /** [books, entries, high, wide] */
  codebooks: Float64Array
  scales: Float64Array
  shape: { down: number; across: number; books: number; entries: number; high: number; wide: number }
}

/** The rows of row group `row`, [high, columns]. */
export function decodedRows({ codes, codebooks, scales, shape }: PlainCodebooks, row: number): Float64Array {
  const { across, books, entries, high, wide } = shape
  const columns = across * wide
  return Float64Array.from({ length: high * columns }, (_, at) => {
    const [a, column] = [Math.floor(at / columns), at % columns]
    const [group, t] = [Math.floor(column / wide), column % wide]
    let sum = 0
    for (let m = 0; m < books; m++)
      sum += codebooks[((m * entries + codes[(row * across + group) * books + m]!) * high + a) * wide + t]!
    return scales[row]! * sum
  })
}

/** tr(D H D^T) of row group `row`. */
export function rowLoss(
  weight: Float64Array,
  hessian: Float64Array,
  parts: PlainCodebooks,
  row: number,
): number {
  const { across, high, wide } = parts.shape
  const columns = across * wide
  const lost = decodedRows(parts, row).map((x, i) => weight[row * high * columns + i]! - x)
  let sum = 0
  for (let a = 0; a < high; a++)
    for (let i = 0; i < columns; i++)
      for (let j = 0; j < columns; j++)
        sum += lost[a * columns + i]! * hessian[i * columns + j]! * lost[a * columns + j]!
  return sum
}

/** One visit after the other, each slot to the entry with the least loss; the old one stays where none is better. */
export function greedySearch(
  weight: Float64Array,
  hessian: Float64Array,
  parts: PlainCodebooks,
  visits: Uint32Array,
): Uint32Array {
  const own = { ...parts, codes: Uint32Array.from(parts.codes) }
  const { down, across, books, entries } = parts.shape
  for (let v = 0; v < visits.length; v += 2)
    for (let row = 0; row < down; row++) {
      const slot = (row * across + visits[v]!) * books + visits[v + 1]!
      const old = own.codes[slot]!
      const losses = Array.from({ length: entries }, (_, k) => {
        own.codes[slot] = k
        return rowLoss(weight, hessian, own, row)
      })
      const least = Math.min(...losses)
      own.codes[slot] = losses[old]! <= least ? old : losses.indexOf(least)
    }
  return own.codes
}
