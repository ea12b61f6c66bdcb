import { describe, expect, test } from 'vitest'
import { NumericalError, ShapeError } from '../tensor/errors.ts'
import { randomStream, scope, setThreads, type Tensor, tensor, threads } from '../tensor/index.ts'
import { greedySearch, type PlainCodebooks, rowLoss } from './additive_codebooks.oracle.suite.ts'
import {
  type AdditiveCodebooks,
  beamSearch,
  decodeAdditive,
  randomVisits,
  residualKMeans,
} from './additive_codebooks.ts'
import { syntheticLayer } from './synthetic_layer.suite.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const float64 = (x: Tensor) => Float64Array.from(numbers(x))

/** A weight, a Hessian of correlated inputs and random codebooks, f64. */
function problem({ seed = 0, down = 3, across = 2, books = 2, entries = 4, high = 1, wide = 2 } = {}) {
  const random = randomStream(seed, 'problem')
  const { weight, gram } = syntheticLayer({ seed, rows: down * high, columns: across * wide, tokens: 200 })
  const parts: AdditiveCodebooks = {
    codes: tensor(
      Uint32Array.from({ length: down * across * books }, () => random.integer(entries)),
      [down, across, books],
      'u32',
    ),
    codebooks: random.normal([books, entries, high, wide], 'f64').mul(0.5),
    scales: random.uniform([down], 'f64').add(0.5),
  }
  const shape = { down, across, books, entries, high, wide }
  return { weight, hessian: gram.mul(1 / 200), parts, shape, visits: randomVisits(random, across, books) }
}
type Problem = ReturnType<typeof problem>

const plain = ({ parts, shape }: Pick<Problem, 'parts' | 'shape'>, codes = parts.codes): PlainCodebooks => ({
  codes: Uint32Array.from(numbers(codes)),
  codebooks: float64(parts.codebooks),
  scales: float64(parts.scales),
  shape,
})
const losses = (given: Problem, codes = given.parts.codes) =>
  Array.from({ length: given.shape.down }, (_, row) =>
    rowLoss(float64(given.weight), float64(given.hessian), plain(given, codes), row),
  )
const search = ({ weight, hessian, parts, visits }: Problem, beam: number, codes = parts.codes) =>
  beamSearch(weight, hessian, { ...parts, codes }, { visits, beam })

describe('2. beam search', () => {
  test('with room for all combinations finds the least of all 256, row by row', () => {
    for (const seed of [0, 1, 2, 3]) {
      const given = problem({ seed })
      const least = losses(given).map(() => Number.POSITIVE_INFINITY)
      for (let all = 0; all < 256; all++) {
        const codes = Uint32Array.from({ length: 12 }, (_, i) => (all >> (2 * (i % 4))) & 3)
        const found = losses(given, tensor(codes, [3, 2, 2], 'u32'))
        for (const [row, loss] of found.entries()) least[row] = Math.min(least[row]!, loss)
      }
      const { codes, gains } = search(given, 256)
      for (const [row, loss] of losses(given, codes).entries()) {
        expect(loss).toBeCloseTo(least[row]!, 12)
        expect(losses(given)[row]! - numbers(gains)[row]!).toBeCloseTo(loss, 12)
      }
    }
  })
  test.each([
    { down: 3 },
    { down: 9, across: 3, wide: 8, books: 2, entries: 40 },
    { down: 5, across: 3, wide: 4, books: 3, entries: 5 },
    { down: 2, across: 2, wide: 16, books: 1, entries: 33 },
    { down: 3, across: 4, wide: 3, high: 2, books: 2, entries: 7 },
  ])('with one hypothesis takes the codes of the slow search: %o', (shape) => {
    const given = problem({ seed: 4, ...shape })
    const wanted = greedySearch(float64(given.weight), float64(given.hessian), plain(given), given.visits)
    expect(numbers(search(given, 1).codes)).toEqual([...wanted])
  })
  test('with more hypotheses loses less over many problems', () => {
    const total = (beam: number) =>
      Array.from({ length: 12 }, (_, seed) => {
        const given = problem({ seed, down: 8, across: 6, wide: 4, books: 2, entries: 16 })
        return losses(given, search(given, beam).codes).reduce((a, b) => a + b)
      }).reduce((a, b) => a + b)
    const [one, four, sixteen] = [total(1), total(4), total(16)]
    expect(four).toBeLessThan(one)
    expect(sixteen).toBeLessThan(four)
  })
})

describe('3. with one hypothesis', () => {
  test('no visit makes the loss larger, and the tracked loss is the computed one within 1e-9', () => {
    const given = problem({ seed: 5, down: 6, across: 5, wide: 8, books: 2, entries: 16 })
    let { codes } = given.parts
    for (let v = 0; v < given.visits.length; v += 2) {
      const before = losses(given, codes)
      const found = search({ ...given, visits: given.visits.slice(v, v + 2) }, 1, codes)
      codes = found.codes
      for (const [row, loss] of losses(given, codes).entries()) {
        expect(loss).toBeLessThanOrEqual(before[row]! * (1 + 1e-12))
        expect(Math.abs(before[row]! - numbers(found.gains)[row]! - loss)).toBeLessThan(1e-9 * before[row]!)
      }
    }
  })
})

describe('4. the Hessian', () => {
  const given = problem({ seed: 6, down: 16, across: 8, wide: 8, books: 2, entries: 32 })

  test('as the identity makes every code the one with the least squared error', () => {
    const n = 64
    const identity = Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0))
    const { codes } = search({ ...given, hessian: tensor(identity, [n, n], 'f64') }, 1)
    // A search that knows nothing of H: tile by tile, book by book.
    const own = plain(given)
    const w = float64(given.weight)
    for (let v = 0; v < given.visits.length; v += 2)
      for (let row = 0; row < 16; row++) {
        const [group, book] = [given.visits[v]!, given.visits[v + 1]!]
        const slot = (row * 8 + group) * 2 + book
        const errors = Array.from({ length: 32 }, (_, k) => {
          const chosen = [own.codes[(row * 8 + group) * 2]!, own.codes[(row * 8 + group) * 2 + 1]!]
          chosen[book] = k
          let sum = 0
          for (let t = 0; t < 8; t++) {
            const [a, b] = chosen.map((code, m) => own.codebooks[(m * 32 + code) * 8 + t]!)
            sum += (w[row * n + group * 8 + t]! - own.scales[row]! * (a! + b!)) ** 2
          }
          return sum
        })
        own.codes[slot] = errors.indexOf(Math.min(...errors))
      }
    expect(numbers(codes)).toEqual([...own.codes])
  })
  test('times a number scales the loss and changes no code', () => {
    const usual = search(given, 1)
    for (const factor of [1e-6, 3, 1e5]) {
      const scaled = search({ ...given, hessian: given.hessian.mul(factor) }, 1)
      expect(numbers(scaled.codes)).toEqual(numbers(usual.codes))
      for (const [row, gain] of numbers(scaled.gains).entries())
        expect(gain / factor).toBeCloseTo(numbers(usual.gains)[row]!, 10)
    }
  })
})

test('codes and centroids are the same for every number of threads', () => {
  const before = threads()
  const given = problem({ seed: 7, down: 40, across: 8, wide: 8, books: 2, entries: 64 })
  const vectors = randomStream(2, 'vectors').normal([5000, 8])
  try {
    const all = [1, 2, 5].map((count) => {
      setThreads(count)
      const options = { books: 2, entries: 64, rounds: 12, random: randomStream(0, 'start') }
      const clusters = residualKMeans(vectors, options)
      return [search(given, 1).codes, search(given, 4).codes, clusters.codebooks, clusters.codes].map(numbers)
    })
    expect(all[1]).toEqual(all[0])
    expect(all[2]).toEqual(all[0])
  } finally {
    setThreads(before)
  }
})

describe('residual k-means', () => {
  const vectors = randomStream(1, 'vectors').normal([400, 3], 'f64')
  const options = { books: 2, entries: 8, rounds: 100, random: randomStream(0, 'start') }
  const { codebooks, codes } = residualKMeans(vectors, options)
  const [v, c, k] = [numbers(vectors), numbers(codebooks), numbers(codes)]

  test('every vector points at the nearest centroid, of each codebook for what the ones before left over', () => {
    for (let i = 0; i < 400; i++) {
      const left = v.slice(3 * i, 3 * i + 3)
      for (let m = 0; m < 2; m++) {
        const distances = Array.from({ length: 8 }, (_, e) =>
          left.reduce((sum, x, t) => sum + (x - c[(m * 8 + e) * 3 + t]!) ** 2, 0),
        )
        expect(distances[k[2 * i + m]!]).toBeCloseTo(Math.min(...distances), 12)
        for (let t = 0; t < 3; t++) left[t]! -= c[(m * 8 + k[2 * i + m]!) * 3 + t]!
      }
    }
  })
  test('centroids are the means of their vectors', () => {
    for (let e = 0; e < 8; e++) {
      const own = Array.from({ length: 400 }, (_, i) => i).filter((i) => k[2 * i] === e)
      expect(own.length).toBeGreaterThan(0)
      for (let t = 0; t < 3; t++) {
        const mean = own.reduce((sum, i) => sum + v[3 * i + t]!, 0) / own.length
        expect(Math.abs(c[e * 3 + t]! - mean)).toBeLessThan(1e-4)
      }
    }
  })
  test('more entries than vectors give every vector its own, and zeros', () => {
    const few = vectors.slice(0, 0, 5)
    const found = residualKMeans(few, { books: 1, entries: 8, rounds: 10, random: randomStream(3, 'start') })
    const decoded = decodeAdditive({
      codes: found.codes.reshape([5, 1, 1]),
      codebooks: found.codebooks.reshape([1, 8, 1, 3]),
      scales: tensor(new Float64Array(5).fill(1), [5], 'f64'),
    })
    expect(numbers(decoded)).toEqual(numbers(few))
  })
  test('vectors that are not finite are refused', () => {
    const broken = tensor(Float64Array.of(1, Number.NaN), [2, 1], 'f64')
    const asked = { books: 1, entries: 1, rounds: 1, random: randomStream(0, 'start') }
    expect(() => residualKMeans(broken, asked)).toThrow(NumericalError)
  })
})

test('tensors that do not fit each other are refused', () => {
  const given = problem()
  scope(() => {
    const { weight, hessian, parts, visits } = given
    const wrong: [Tensor, Tensor, AdditiveCodebooks, Uint32Array][] = [
      [weight.slice(1, 0, 3), hessian, parts, visits],
      [weight, hessian.slice(0, 0, 3), parts, visits],
      [weight, hessian, { ...parts, codes: parts.codes.slice(0, 0, 2) }, visits],
      [weight, hessian, { ...parts, codebooks: parts.codebooks.slice(1, 0, 1) }, visits],
      [weight.cast('f32'), hessian, parts, visits],
      [weight, hessian, parts, Uint32Array.of(2, 0)],
    ]
    for (const [w, h, p, v] of wrong)
      expect(() => beamSearch(w, h, p, { visits: v, beam: 1 })).toThrow(ShapeError)
  })
})
