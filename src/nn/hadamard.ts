/**
 * Hadamard matrices: entries of 1 and -1 whose rows are orthogonal, H H^T = n I.
 *
 *   2^k       Sylvester 1867: H_2n = [[H, H], [H, -H]]
 *   q + 1     Paley 1933, for primes q = 3 mod 4:  H = I + S,  S = [[0, 1], [-1, Q]],  Q[i][j] = legendre(i - j)
 *   2q + 2    Paley 1933, for primes q = 1 mod 4:  each 0 of S = [[0, 1], [1, Q]] becomes [[1, -1], [-1, -1]], each
 *             other entry s becomes s [[1, 1], [1, -1]]
 *   4n        Williamson 1944, from four symmetric circulant matrices whose squares add up to 4n I
 *   4tn       Baumert and Hall 1965: an array of Goethals and Seidel with Williamson matrices in its places
 *
 * All others are Kronecker products of such a core of K rows with one of 2^k.
 */
import { OptionError } from '../tensor/errors.ts'

/** Cores have so many rows at most: they are multiplied entry by entry. */
const largestCore = 256

/** Rows 1 to (n - 1) / 2 of the first columns of Williamson's matrices, of which column 0 has a 1 and n - i is i. */
const williamsonHalves: Readonly<Record<number, readonly string[]>> = {
  13: ['+-+-++', '+--+-+', '---+++', '++-++-'],
  // Constant on the classes of the sixth powers, as Williamson found them.
  43: ['+-+--++-+++----+++-++', '--+++--+-+--+-+++++-+', '-+-+----++++-++++-++-', '--++----+-+---+--++++'],
}

/** Sizes of cores, from 1 on; every one times a power of two is the size of a Hadamard matrix here. */
export const hadamardCores: readonly number[] = coreSizes()

function coreSizes(): number[] {
  const sizes = [1]
  for (let size = 4; size <= largestCore; size += 4) {
    const isNew = !sizes.some((core) => isPowerOfTwo(size / core))
    if (isNew && makerOf(size) !== undefined) sizes.push(size)
  }
  return sizes
}

/** A size as `core` rows times `2^k`. @throws OptionError where no Hadamard matrix of the size is known here. */
export function hadamardFactors(size: number): { core: number; power: number } {
  const found =
    Number.isSafeInteger(size) && size > 0
      ? hadamardCores.find((core) => size % core === 0 && isPowerOfTwo(size / core))
      : undefined
  if (found !== undefined) return { core: found, power: size / found }
  throw new OptionError(
    `a Hadamard matrix of ${size} rows: needs a power of two, or one times ${hadamardCores.slice(1).join(', ')}; rotate another width, or leave the rotation out`,
    { code: 'PARE_E_HADAMARD_SIZE', facts: { size, cores: hadamardCores } },
  )
}

const known = new Map<number, Int8Array>()

/** The core of `size` rows, entries row by row. */
export function hadamardCore(size: number): Int8Array {
  let core = known.get(size)
  if (!core) {
    core = (makerOf(size) ?? (() => Int8Array.of(1)))()
    known.set(size, core)
  }
  return core
}

/**
 * The whole matrix, entries row by row: the Kronecker product of that of Sylvester with the core.
 *
 * @throws OptionError where no Hadamard matrix of the size is known here.
 * @example hadamardMatrix(2) // Int8Array [1, 1, 1, -1]
 */
export function hadamardMatrix(size: number): Int8Array {
  const { core } = hadamardFactors(size)
  const entries = hadamardCore(core)
  const matrix = new Int8Array(size * size)
  for (let row = 0; row < size; row++)
    for (let column = 0; column < size; column++) {
      const sign = isOdd(Math.floor(row / core) & Math.floor(column / core)) ? -1 : 1
      matrix[row * size + column] = sign * entries[(row % core) * core + (column % core)]!
    }
  return matrix
}

/** What makes the core of a size; nothing where no construction here does. */
function makerOf(size: number): (() => Int8Array) | undefined {
  if (size === 156) return baumertHall
  const quarter = size / 4
  if (williamsonHalves[quarter]) return () => goethalsSeidel(williamsonMatrices(quarter), quarter)
  if (size % 4 !== 0) return undefined
  if (isPrime(size - 1)) return () => paley(size - 1)
  return isPrime(size / 2 - 1) && size % 8 === 4 ? () => doublePaley(size / 2 - 1) : undefined
}

/** Legendre symbols of 0 to q - 1. */
function legendre(q: number): Int8Array {
  const symbols = new Int8Array(q).fill(-1)
  symbols[0] = 0
  for (let x = 1; x < q; x++) symbols[(x * x) % q] = 1
  return symbols
}

/** S of the header, [q + 1, q + 1]. */
function conference(q: number, below: 1 | -1): Int8Array {
  const symbols = legendre(q)
  const size = q + 1
  const matrix = new Int8Array(size * size)
  for (let i = 0; i < q; i++) {
    matrix[i + 1] = 1
    matrix[(i + 1) * size] = below
    for (let j = 0; j < q; j++) matrix[(i + 1) * size + j + 1] = symbols[(i - j + q) % q]!
  }
  return matrix
}

function paley(q: number): Int8Array {
  const matrix = conference(q, -1)
  for (let i = 0; i <= q; i++) matrix[i * (q + 1) + i] = 1
  return matrix
}

function doublePaley(q: number): Int8Array {
  const from = conference(q, 1)
  const size = 2 * (q + 1)
  const [ofZero, ofSign] = [
    [1, -1, -1, -1],
    [1, 1, 1, -1],
  ] as const
  return Int8Array.from({ length: size * size }, (_, place) => {
    const [row, column] = [Math.floor(place / size), place % size]
    const sign = from[(row >> 1) * (q + 1) + (column >> 1)]!
    const inside = 2 * (row % 2) + (column % 2)
    return sign === 0 ? ofZero[inside]! : sign * ofSign[inside]!
  })
}

type Square = (row: number, column: number) => number

function williamsonMatrices(n: number): [Square, Square, Square, Square] {
  return williamsonHalves[n]!.map((half): Square => {
    const column = Int8Array.from({ length: n }, (_, i) =>
      i === 0 || half[Math.min(i, n - i) - 1] === '+' ? 1 : -1,
    )
    return (row, other) => column[(row - other + n) % n]!
  }) as [Square, Square, Square, Square]
}

/**
 * [[A, BR, CR, DR], [-BR, A, D'R, -C'R], [-CR, -D'R, A, B'R], [-DR, C'R, -B'R, A]] of circulant A to D, with X' for
 * the transpose and R for the order of columns turned around.
 *
 * @param n rows of A to D
 */
function goethalsSeidel(squares: readonly [Square, Square, Square, Square], n: number): Int8Array {
  const [a, b, c, d] = squares
  const turned =
    (of: Square, sign: number, transposed = false): Square =>
    (row, column) =>
      sign * (transposed ? of(n - 1 - column, row) : of(row, n - 1 - column))
  const blocks: readonly Square[][] = [
    [a, turned(b, 1), turned(c, 1), turned(d, 1)],
    [turned(b, -1), a, turned(d, 1, true), turned(c, -1, true)],
    [turned(c, -1), turned(d, -1, true), a, turned(b, 1, true)],
    [turned(d, -1), turned(c, 1, true), turned(b, -1, true), a],
  ]
  const size = 4 * n
  return Int8Array.from({ length: size * size }, (_, place) => {
    const [row, column] = [Math.floor(place / size), place % size]
    return blocks[Math.floor(row / n)]![Math.floor(column / n)]!(row % n, column % n)
  })
}

/** 156 = 4 * 3 * 13: circulants of three rows, whose entries are Williamson's matrices of 13. */
function baumertHall(): Int8Array {
  const [t, n] = [3, 13]
  const [a, b, c, d] = williamsonMatrices(n)
  const minus =
    (of: Square): Square =>
    (row, column) =>
      -of(row, column)
  const rows: readonly Square[][] = [
    [a, b, c],
    [minus(b), a, d],
    [minus(c), minus(d), a],
    [minus(d), c, minus(b)],
  ]
  // Which matrix stands at a place of an array of 12 x 12, found with squares that return its number and sign.
  const numbered = rows.map(
    (_, i): Square =>
      (row, column) =>
        10 * (i + 1) + ((column - row + t) % t),
  ) as [Square, Square, Square, Square]
  const array = goethalsSeidel(numbered, t)
  const [outer, size] = [4 * t, 4 * t * n]
  return Int8Array.from({ length: size * size }, (_, place) => {
    const [row, column] = [Math.floor(place / size), place % size]
    const code = array[Math.floor(row / n) * outer + Math.floor(column / n)]!
    const of = rows[Math.floor(Math.abs(code) / 10) - 1]![Math.abs(code) % 10]!
    return Math.sign(code) * of(row % n, column % n)
  })
}

function isPrime(n: number): boolean {
  if (!Number.isInteger(n) || n < 2) return false
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false
  return true
}

function isPowerOfTwo(n: number): boolean {
  return Number.isInteger(Math.log2(n)) && 2 ** Math.log2(n) === n
}

/** Whether the number of ones among the bits is odd. */
function isOdd(bits: number): boolean {
  let odd = false
  for (let left = bits; left !== 0; left &= left - 1) odd = !odd
  return odd
}
