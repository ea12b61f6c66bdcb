/**
 * Random orthogonal matrices that are rebuilt from a seed: Q = (A (x) B) P, a Kronecker product of two small matrices that
 * are uniform over all orthogonal ones, behind a random order of the columns. Chee et al. 2023, arXiv:2307.13304, section 4.
 *
 * Equal bit for bit on every machine: random words are, and what is made of them uses sums, products, quotients and square
 * roots of f64, in one order. Products with tensors are those of the kernels.
 */
import { OptionError } from '../../tensor/errors.ts'
import { concat, indexSelect, matmul, randomStream, scope, type Tensor, tensor } from '../../tensor/index.ts'
import { largestOrthogonal, squarestFactors } from './rotation_sizes.ts'

export interface RandomOrthogonal {
  size: number
  /** Sizes of A and B. Where they do not divide the size well, the last few of the new order stay as they are. */
  widths: readonly [number, number]
  /** Row-major. */
  factors: readonly [Float64Array, Float64Array]
  /** Column of x at each place of the new order. */
  order: Uint32Array
}

/**
 * @param seed whole, 0 to 2^53
 * @param stream tells matrices of one seed apart
 * @throws OptionError for a size that is not a whole number from 1 to 2^18
 * @example turn(randomOrthogonal(7, 'right', 576), x) // x Q^T
 */
export function randomOrthogonal(seed: number, stream: string, size: number): RandomOrthogonal {
  if (!(Number.isInteger(size) && size >= 1 && size <= largestOrthogonal))
    throw new OptionError(
      `a random orthogonal matrix needs a size from 1 to ${largestOrthogonal}, got ${size}; leave the weight out`,
      { facts: { size } },
    )
  const widths = squarestFactors(size)
  const normal = normals(seed, `orthogonal ${stream}`)
  const [a, b] = widths
  const factors = [orthonormal(a, normal), orthonormal(b, normal)] as const
  const order = scope(() => randomStream(seed, `order ${stream}`).permutation(size).toArray() as Uint32Array)
  return { size, widths, factors, order }
}

/** x Q^T of x [rows, size], in the type of x. */
export function turn({ size, widths: [a, b], factors, order }: RandomOrthogonal, x: Tensor): Tensor {
  return scope(() => {
    const sorted = indexSelect(x, 1, tensor(order, [size], 'u32'))
    const [left, right] = [tensor(factors[0], [a, a], x.dtype), tensor(factors[1], [b, b], x.dtype)]
    return withTail(sorted, a, b, (tiles) => matmul(left, matmul(tiles, right.transpose())))
  })
}

/** x Q of x [rows, size], in the type of x: what `turn` did, undone. */
export function turnBack({ size, widths: [a, b], factors, order }: RandomOrthogonal, x: Tensor): Tensor {
  return scope(() => {
    const [left, right] = [tensor(factors[0], [a, a], x.dtype), tensor(factors[1], [b, b], x.dtype)]
    const sorted = withTail(x, a, b, (tiles) => matmul(left.transpose(), matmul(tiles, right)))
    const places = new Uint32Array(size)
    for (const [place, column] of order.entries()) places[column] = place
    return indexSelect(sorted, 1, tensor(places, [size], 'u32'))
  })
}

/** Changes the first a * b numbers of each row, as a matrix [a, b]. */
function withTail(x: Tensor, a: number, b: number, change: (tiles: Tensor) => Tensor): Tensor {
  const [rows, size] = x.shape as [number, number]
  const head = a * b === size ? x : x.slice(1, 0, a * b).contiguous()
  const changed = change(head.reshape([rows, a, b])).reshape([rows, a * b])
  return a * b === size ? changed : concat([changed, x.slice(1, a * b, size)], 1)
}

/**
 * Rows of normal numbers, each made orthogonal to those before and of length 1, so that all orthogonal matrices are
 * equally likely. Twice, since once leaves more than rounding.
 */
function orthonormal(n: number, normal: () => number): Float64Array {
  const q = Float64Array.from({ length: n * n }, normal)
  for (let i = 0; i < n; i++) {
    const row = q.subarray(i * n, (i + 1) * n)
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        const other = q.subarray(j * n, (j + 1) * n)
        let dot = 0
        for (let k = 0; k < n; k++) dot += row[k]! * other[k]!
        for (let k = 0; k < n; k++) row[k]! -= dot * other[k]!
      }
      let square = 0
      for (let k = 0; k < n; k++) square += row[k]! * row[k]!
      const length = Math.sqrt(square)
      for (let k = 0; k < n; k++) row[k]! /= length
    }
  }
  return q
}

/** Normal numbers by Marsaglia's polar method. */
function normals(seed: number, name: string): () => number {
  const stream = randomStream(seed, name)
  let words: Uint32Array = new Uint32Array(0)
  let next = 0
  /** In (-1, 1), of 53 bits. */
  const uniform = () => {
    if (next === words.length) {
      words = scope(() => stream.bits([4096]).toArray() as Uint32Array)
      next = 0
    }
    const whole = (words[next]! >>> 5) * 2 ** 26 + (words[next + 1]! >>> 6)
    next += 2
    return (2 * whole + 1) * 2 ** -53 - 1
  }
  let spare: number | undefined
  return () => {
    if (spare !== undefined) {
      const value = spare
      spare = undefined
      return value
    }
    for (;;) {
      const [x, y] = [uniform(), uniform()]
      const square = x * x + y * y
      if (square >= 1 || square === 0) continue
      const length = Math.sqrt((-2 * logarithm(square)) / square)
      spare = y * length
      return x * length
    }
  }
}

/** Natural logarithm of x in (0, 1): that of a library may differ in its last bit from machine to machine. */
function logarithm(x: number): number {
  let exponent = 0
  let part = x
  for (; part < Math.SQRT1_2; part *= 2) exponent--
  // 2 artanh((part - 1) / (part + 1)), to z^27 of |z| < 0.172
  const z = (part - 1) / (part + 1)
  let sum = 0
  for (let power = 27; power >= 1; power -= 2) sum = sum * z * z + 1 / power
  return exponent * Math.LN2 + 2 * z * sum
}
