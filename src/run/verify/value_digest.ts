/**
 * What weights are, in few bytes: to know them again exactly, and to say how far others are from them.
 *
 *   sha256   of the f32 values in row-major order, little-endian
 *   sketch   R^T W C with fixed normal R [rows, 4] and C [columns, 4]; the mean of its squares has the expectation
 *            |W|^2, and so has that of a difference (Alon, Matias and Szegedy 1996; Johnson and Lindenstrauss 1984)
 */
import { createHash } from 'node:crypto'
import { rowRanges } from '../../models/row_ranges.ts'
import { randomStream, scope, type Tensor } from '../../tensor/index.ts'

export interface ValueDigest {
  /** SHA-256 of the values as f32, row after row. */
  sha256: string
  /** Of a matrix, where other values may be near enough. */
  sketch?: Sketch | undefined
}

export interface Sketch {
  /** Sum of the squares of all values. */
  squares: number
  /** 16 products with random vectors. */
  products: readonly number[]
}

/** Formats whose reader computes other values than were decided: MLX adds an offset that is rounded to half floats. */
const rounding: readonly string[] = ['mlx', 'spqr', 'aqlm']

/** Whether the values of a format are near those that were decided, and not the same. */
export const roundsValues = (format: string): boolean => rounding.includes(format)

/** Numbers that are copied out of the engine at a time. */
const PART = 2 ** 20
/** Columns of each of the two random matrices. */
const WIDTH = 4
/** Digits of a number of the sketch: more than the products are good for. */
const DIGITS = 8

/**
 * The digest of a tensor in f32.
 *
 * @param options.sketch of a matrix, which takes about as long as the rest @default true
 * @example digestOf(model.weights.load('model.layers.0.mlp.up_proj.weight')).sha256
 */
export function digestOf(values: Tensor, { sketch = true } = {}): ValueDigest {
  const hash = createHash('sha256')
  return scope(() => {
    const rows = values.shape.length === 2 ? values : values.reshape([1, values.size])
    const [count, columns] = rows.shape as readonly number[] as [number, number]
    for (const { start, end } of rowRanges(count, columns, PART))
      scope(() => hash.update(rows.slice(0, start, end).bytes()))
    const sha256 = hash.digest('hex')
    return sketch && values.shape.length === 2 ? { sha256, sketch: sketchOf(values) } : { sha256 }
  })
}

/**
 * How far two weights are apart, |A - B| / |B|, from their digests; 0 where they are the same. Of what differs it is
 * an estimate: of 16 squares, so that it is within a factor of two in nearly all cases.
 * Infinity where one of them has no sketch.
 */
export function digestDistance(a: ValueDigest, b: ValueDigest): number {
  if (a.sha256 === b.sha256) return 0
  const [one, other] = [a.sketch?.products, b.sketch?.products]
  if (!one || !other || one.length !== other.length) return Number.POSITIVE_INFINITY
  const squares = one.reduce((sum, value, i) => sum + (value - other[i]!) ** 2, 0) / one.length
  return Math.sqrt(squares / b.sketch!.squares)
}

function sketchOf(matrix: Tensor): Sketch {
  const normal = (size: number, side: string) => randomStream(0, `sketch of ${side}`).normal([size, WIDTH])
  const [rows, columns] = matrix.shape as readonly number[] as [number, number]
  const products = normal(rows, 'rows')
    .transpose()
    .matmul(matrix.matmul(normal(columns, 'columns')))
  return {
    squares: rounded(total(matrix.square().sum([-1]))),
    products: Array.from(products.toArray(), Number).map(rounded),
  }
}

function total(x: Tensor): number {
  let sum = 0
  for (const value of x.toArray()) sum += Number(value)
  return sum
}

/** JSON holds no infinity, which sums of very large numbers may reach. */
function rounded(value: number): number {
  if (Number.isFinite(value)) return Number(value.toPrecision(DIGITS))
  return Number.isNaN(value) ? 0 : Math.sign(value) * Number.MAX_VALUE
}
