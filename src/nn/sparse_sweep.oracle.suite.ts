/**
 * The sparse sweep in plain loops: every column changes all later ones at once, and masks come from whole sorts. The
 * order of additions is that of the native kernel, so that f64 results agree in every bit.
 */
import { fitGroup } from './column_sweep.oracle.suite.ts'
import type { AffineGrid } from './grid.ts'
import type { SparseChoice } from './sparse_sweep.ts'

export interface SparseOracleOptions {
  /** U transposed, [columns, columns]; nothing corrects nothing. */
  factor?: Float64Array | undefined
  mask?: Uint8Array | undefined
  choice?: SparseChoice | undefined
  slab?: number
  grid?: AffineGrid | undefined
}

export interface SparseOracleResult {
  dense: Float64Array
  mask: Uint8Array
  losses: Float64Array
}

/** Halves go to the even neighbour. */
function roundEven(x: number): number {
  const floor = Math.floor(x)
  if (x - floor !== 0.5) return Math.round(x)
  return floor % 2 === 0 ? floor : floor + 1
}

export function oracleSparseSweep(
  weight: Float64Array,
  columns: number,
  { factor, mask, choice, slab = 128, grid }: SparseOracleOptions,
): SparseOracleResult {
  const rows = weight.length / columns
  const current = weight.slice()
  const lives = mask?.slice() ?? new Uint8Array(weight.length).fill(1)
  const losses = new Float64Array(rows)
  const pivot = (column: number) => factor?.[column * (columns + 1)] ?? 1
  /** Pruned already, then by score, then in the order of the places. */
  const prune = (places: readonly number[], zeros: number, ties = false) => {
    const score = (at: number) => (lives[at] ? Math.abs(current[at]! / pivot(at % columns)) : -1)
    const scores = new Map(places.map((at) => [at, score(at)]))
    const ranked = places.toSorted((a, b) => scores.get(a)! - scores.get(b)! || a - b)
    const last = scores.get(ranked[zeros - 1]!)
    for (const [i, at] of ranked.entries()) if (i < zeros || (ties && scores.get(at) === last)) lives[at] = 0
  }
  const width = grid && (grid.groupSize === 'row' ? columns : Math.min(grid.groupSize, columns))
  const steps = Array.from({ length: rows }, () => ({ scale: 1, zero: 0 }))
  const place = (row: number, column: number) => row * columns + column
  const all = Array.from({ length: rows }, (_, row) => row)
  for (let column = 0; column < columns; column++) {
    if (choice?.kind === 'slabs' && column % slab === 0) {
      const end = Math.min(columns, column + slab)
      const places = all.flatMap((row) => range(place(row, column), place(row, end)))
      prune(places, choice.zeros[column / slab]!, choice.ties)
    }
    for (const row of all) {
      const at = place(row, column)
      if (choice?.kind === 'n:m' && column % choice.m === 0)
        prune(range(at, at + choice.m), choice.m - choice.n)
      if (grid && column % width! === 0) {
        const group = range(at, Math.min(at + width!, place(row + 1, 0)))
        steps[row] = fitGroup(
          group.map((i) => (lives[i] ? current[i]! : 0)),
          grid,
        )
      }
      const value = current[at]!
      let chosen = lives[at] ? value : 0
      if (grid && lives[at]) {
        const { scale, zero } = steps[row]!
        const top = 2 ** grid.bits - 1
        chosen = scale * (roundEven(Math.min(top - zero, Math.max(-zero, value / scale))) + 0)
      }
      current[at] = chosen
      if (!factor) continue
      const error = (value - chosen) / pivot(column)
      losses[row]! += error * error
      for (let later = column + 1; later < columns; later++)
        current[place(row, later)]! -= error * factor[later * columns + column]!
    }
  }
  return { dense: current, mask: lives, losses: losses.map((loss) => loss / 2) }
}

const range = (start: number, end: number) => Array.from({ length: end - start }, (_, i) => start + i)
