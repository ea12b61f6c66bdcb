/** Reductions of one row of numbers to one number, in f64. */
import type { ReduceName } from '../kernels.ts'

const sum = (row: Float64Array) => row.reduce((total, x) => total + x, 0)

function logsumexp(row: Float64Array): number {
  const top = row.reduce((a, b) => Math.max(a, b), -Infinity)
  if (!Number.isFinite(top)) return top
  return top + Math.log(sum(row.map((x) => Math.exp(x - top))))
}

/** The lowest index of the best entry; the first NaN beats everything. */
function best(row: Float64Array, beats: (x: number, y: number) => boolean): number {
  const nan = row.findIndex(Number.isNaN)
  if (nan >= 0) return nan
  let at = 0
  row.forEach((x, i) => {
    if (beats(x, row[at]!)) at = i
  })
  return at
}

/** A NaN anywhere in a row wins, except in the bool ones, which see none. */
export const reductions: Record<ReduceName, (row: Float64Array) => number> = {
  sum,
  mean: (row) => sum(row) / row.length,
  max: (row) => row.reduce((top, x) => Math.max(top, x), -Infinity),
  min: (row) => row.reduce((low, x) => Math.min(low, x), Infinity),
  prod: (row) => row.reduce((product, x) => product * x, 1),
  logsumexp,
  argmax: (row) => best(row, (x, y) => x > y),
  argmin: (row) => best(row, (x, y) => x < y),
  any: (row) => Number(row.some(Boolean)),
  all: (row) => Number(row.every(Boolean)),
}
