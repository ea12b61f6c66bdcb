/** Reads a weight of a result once, and compares it with that of the source on the way. */
import type { ModelWeights } from '../../models/model_weights.ts'
import { rowRanges } from '../../models/row_ranges.ts'
import { scope, type Tensor } from '../../tensor/index.ts'
import { digestDistance, digestOf, type ValueDigest } from './value_digest.ts'

/** Numbers of a table that are in memory at a time; its rows can be read alone. */
export const partNumbers = 2 ** 20

/** A weight as some model stores it. */
interface Place {
  weights: ModelWeights
  name: string
}

export interface ReadWeight {
  /** From the expected values, as `digestDistance`; where they are known. */
  distance?: number
  /** |W' - W| / |W|, where there is a source and the values are not the expected ones. */
  error?: number
  /** The least cosine between a row and that of the source; 0 where one that is not small became zeros. */
  alike: number
  /** Which share of the squares of W' - W is that of the mean of its row; 0 where nothing differs. */
  shifted: number
}

/**
 * Reads a weight once: a matrix of a stage whole, tables a few million numbers at a time.
 *
 * @param expected digest of a matrix
 * @param other the same weight of the source
 */
export function readWeight(
  { weights, name, isMatrix }: Place & { isMatrix: boolean },
  { expected, other }: { expected?: ValueDigest | undefined; other?: Place | undefined },
): ReadWeight {
  const { shape } = weights.infos.get(name)!
  const [rows = 1, columns = 1] = shape
  const sums = { apart: 0, squares: 0, alike: 1, means: 0, rows: 0, lost: 0 }
  if (isMatrix || shape.length !== 2)
    return scope(() => {
      const values = weights.load(name)
      const known = expected
        ? { distance: digestDistance(digestOf(values, { sketch: expected.sketch !== undefined }), expected) }
        : {}
      if (!other || known.distance === 0) return { ...known, alike: 1, shifted: 0 }
      addRows(sums, values, other.weights.load(other.name))
      return { ...known, ...errorOf(sums) }
    })
  for (const { start, end } of rowRanges(rows, columns, partNumbers))
    scope(() => {
      const values = weights.slice(name, start, end)
      if (other) addRows(sums, values, other.weights.slice(other.name, start, end))
    })
  return other ? errorOf(sums) : { alike: 1, shifted: 0 }
}

interface RowSums {
  apart: number
  squares: number
  alike: number
  /** Squares of the means of W' - W over rows, as often as a row has columns. */
  means: number
  rows: number
  /** Squares of the largest row of the source that is all zeros in the result. */
  lost: number
}

/** Squares of a row, of the mean of all rows, from which on rounding does not make it zeros. */
const SMALL_ROW = 1 / 4

const errorOf = ({ apart, squares, alike, means, rows, lost }: RowSums) => ({
  error: apart === 0 ? 0 : Math.sqrt(apart / squares),
  alike: lost > (SMALL_ROW * squares) / rows ? 0 : alike,
  shifted: apart === 0 ? 0 : means / apart,
})

function addRows(sums: RowSums, own: Tensor, source: Tensor): void {
  const apart = sumOfRows(() => own.sub(source).square())
  const squares = sumOfRows(() => source.square())
  for (const [row, value] of apart.entries()) {
    sums.apart += value
    sums.squares += squares[row]!
    sums.rows++
  }
  // A vector has no rows that could be exchanged.
  if (source.shape.length !== 2) return
  const products = sumOfRows(() => own.mul(source))
  const lengths = sumOfRows(() => own.square())
  const columns = source.extent(1)
  for (const sum of sumOfRows(() => own.sub(source))) sums.means += sum ** 2 / columns
  for (const [row, product] of products.entries()) {
    const length = Math.sqrt(lengths[row]! * squares[row]!)
    if (lengths[row] === 0) sums.lost = Math.max(sums.lost, squares[row]!)
    if (length > 0) sums.alike = Math.min(sums.alike, product / length)
  }
}

/** Sums over the last axis, in f32; the tensors in between are given back. */
const sumOfRows = (of: () => Tensor): number[] =>
  scope(() => Array.from(of().sum([-1]).reshape([-1]).toArray(), Number))
