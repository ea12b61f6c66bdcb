import { describe, expect, test } from 'vitest'
import {
  cholesky,
  choleskyInverse,
  matmul,
  randomStream,
  scope,
  type Tensor,
  tensor,
} from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import { oracleGroups, oracleQuantize, oracleTrace } from './greedy_obs.oracle.suite.ts'
import { obsGroups, obsQuantize, obsRows, obsTrace } from './greedy_obs.ts'
import { syntheticLayer } from './synthetic_layer.suite.ts'

const numbers = (x: Tensor) => x.toArray() as Float64Array

/** H = 2/n X^T X of a synthetic layer, with its inverse. */
function problemOf(options: { rows: number; columns: number; tokens: number; seed?: number }) {
  const { weight, inputs, gram } = syntheticLayer(options)
  const hessian = gram.mul(2 / options.tokens)
  return { weight, inputs, hessian, inverse: choleskyInverse(cholesky(hessian)) }
}
const rowOf = (x: Tensor, row: number) => numbers(x).slice(row * x.extent(1), (row + 1) * x.extent(1))

/** |(a - b) X|^2 / n of one row. */
function outputChange(a: Float64Array, b: Float64Array, hessian: Tensor): number {
  return scope(() => {
    const lost = tensor(
      a.map((x, i) => x - b[i]!),
      [1, a.length],
      'f64',
    )
    return matmul(lost, hessian).mul(lost).sum().item() / 2
  })
}

/** Least squares of the row's outputs on some columns, through the normal equations. */
function refit(weight: Float64Array, hessian: Float64Array, kept: readonly number[]): Float64Array {
  const n = weight.length
  const rows = kept.map((p) => [
    ...kept.map((q) => hessian[p * n + q]!),
    weight.reduce((sum, w, j) => sum + hessian[p * n + j]! * w, 0),
  ])
  for (const [i, row] of rows.entries())
    for (const [k, other] of rows.entries()) {
      if (k === i) continue
      const factor = other[i]! / row[i]!
      for (let j = i; j < other.length; j++) other[j]! -= factor * row[j]!
    }
  const result = new Float64Array(n)
  for (const [i, p] of kept.entries()) result[p] = rows[i]!.at(-1)! / rows[i]![i]!
  return result
}

describe('the checks of the paper', () => {
  const small = problemOf({ rows: 8, columns: 16, tokens: 400, seed: 3 })
  const trace = obsTrace(small)!
  const all = obsRows(
    small,
    trace,
    Array.from({ length: 17 }, (_, k) => new Uint32Array(8).fill(k)),
  )!
  const rowAt = (level: number, row: number) =>
    numbers(all).slice((level * 8 + row) * 16, (level * 8 + row + 1) * 16)

  test('after k removals a row is the least-squares refit on the columns that are left, to 1e-9', () => {
    for (let row = 0; row < 8; row++)
      for (let k = 0; k <= 16; k++) {
        const gone = trace.order.slice(row * 16, row * 16 + k)
        const kept = Array.from({ length: 16 }, (_, i) => i).filter((i) => !gone.includes(i))
        const want = refit(rowOf(small.weight, row), numbers(small.hessian), kept)
        for (const [i, x] of rowAt(k, row).entries()) expect(Math.abs(x - want[i]!)).toBeLessThan(1e-9)
      }
  })
  test('the losses of k removals add up to the mean squared change of the output, to 1e-10 of it', () => {
    for (let row = 0; row < 8; row++)
      for (let k = 1; k <= 16; k++) {
        const sum = trace.losses.slice(row * 16, row * 16 + k).reduce((a, b) => a + b)
        const observed = outputChange(rowOf(small.weight, row), rowAt(k, row), small.hessian)
        expect(Math.abs(sum / observed - 1)).toBeLessThan(1e-10)
      }
  })
  test('the losses of rounding add up to the mean squared change of the output, to 1e-10 of it', () => {
    const grid = { bits: 3, scale: 0.125, zero: 4 }
    const found = obsQuantize(small, gridOf(8, 16, grid))!
    for (let row = 0; row < 8; row++) {
      const observed = outputChange(rowOf(small.weight, row), rowOf(found.dense, row), small.hessian)
      expect(Math.abs(found.losses[row]! / observed - 1)).toBeLessThan(1e-10)
    }
  })
  test('a downdated inverse is the inverse of the Hessian without the columns that went, to 1e-8', () => {
    const n = 80
    const { hessian, inverse } = problemOf({ rows: 1, columns: n, tokens: 1000, seed: 7 })
    const h = numbers(hessian)
    const isGone = (p: number) => p % 8 < 5
    const kept = Array.from({ length: n }, (_, p) => p).filter((p) => !isGone(p))
    // Where a weight of 1 stands alone, its removal leaves its column of the inverse over the entry on the diagonal.
    const unit = (row: number, p: number) => Number(p === kept[row])
    const cells = (value: (row: number, p: number) => number) =>
      Float64Array.from({ length: kept.length * n }, (_, i) => value(Math.floor(i / n), i % n))
    const weight = tensor(cells(unit), [kept.length, n], 'f64')
    const mask = Uint8Array.from(cells((_, p) => Number(!isGone(p))))
    const order = kept.flatMap((p) => [p, ...Array.from({ length: n }, (_, q) => q).filter((q) => q !== p)])
    const first = { width: 1, units: n, order: Uint32Array.from(order), losses: new Float64Array() }
    const found = obsRows({ weight, inverse, mask }, first, [new Uint32Array(kept.length).fill(1)])!
    for (const [row, p] of kept.entries()) {
      const want = solve(
        kept.map((a) => kept.map((b) => h[a * n + b]!)),
        Float64Array.from(kept, (q) => unit(row, q)),
      )
      const own = rowOf(found.reshape([kept.length, n]), row)
      for (const [i, q] of kept.entries()) {
        const ratio = q === p ? 0 : -want[i]! / want[row]!
        expect(Math.abs(own[q]! - ratio)).toBeLessThan(1e-8)
      }
    }
  })
  test('the greedy error over the best of all masks of 8 columns has a median of at most 1.05, and is never below 1', () => {
    const ratios: number[] = []
    for (let seed = 0; seed < 15; seed++) {
      const { weight, hessian, inverse } = problemOf({ rows: 4, columns: 8, tokens: 200, seed })
      const { losses } = obsTrace({ weight, inverse })!
      for (let row = 0; row < 4; row++) {
        const greedy = losses.slice(row * 8, row * 8 + 4).reduce((a, b) => a + b)
        const own = rowOf(weight, row)
        let best = Number.POSITIVE_INFINITY
        for (let mask = 0; mask < 256; mask++) {
          const kept = Array.from({ length: 8 }, (_, i) => i).filter((i) => (mask >> i) & 1)
          if (kept.length !== 4) continue
          best = Math.min(best, outputChange(own, refit(own, numbers(hessian), kept), hessian))
        }
        ratios.push(greedy / best)
      }
    }
    ratios.sort((a, b) => a - b)
    expect(ratios).toHaveLength(60)
    expect(ratios[0]).toBeGreaterThanOrEqual(1 - 1e-9)
    expect((ratios[29]! + ratios[30]!) / 2).toBeLessThanOrEqual(1.05)
  })
  test('without any removal a row keeps its bits; without any column it is 0, and lost all of its output', () => {
    expect([...numbers(all).slice(0, 8 * 16)]).toEqual([...numbers(small.weight)])
    for (let row = 0; row < 8; row++) {
      expect([...rowAt(16, row)]).toEqual(Array(16).fill(0))
      const energy = outputChange(rowOf(small.weight, row), new Float64Array(16), small.hessian)
      const sum = trace.losses.slice(row * 16, row * 16 + 16).reduce((a, b) => a + b)
      expect(Math.abs(sum / energy - 1)).toBeLessThan(1e-10)
    }
  })
})

describe('the kernel and plain loops agree', () => {
  // Past 32 removals the kernel moves the matrix, and past a twelfth it leaves out what is gone.
  const layer = problemOf({ rows: 5, columns: 90, tokens: 500, seed: 4 })
  const inverse = numbers(layer.inverse)

  test.each([1, 4, 7])('removing blocks of %i columns, in order, loss and weight', (width) => {
    const trace = obsTrace(layer, width)!
    const counts = [1, trace.units >> 1, trace.units - 1]
    const rows = numbers(
      obsRows(
        layer,
        trace,
        counts.map((count) => new Uint32Array(5).fill(count)),
      )!,
    )
    for (let row = 0; row < 5; row++) {
      const want = oracleTrace(rowOf(layer.weight, row), inverse, width)
      expect([...trace.order.slice(row * trace.units, (row + 1) * trace.units)]).toEqual(want.order)
      for (const [step, loss] of want.losses.entries())
        expect(Math.abs(trace.losses[row * trace.units + step]! / loss - 1)).toBeLessThan(1e-8)
      for (const [level, count] of counts.entries())
        close(rows.slice((level * 5 + row) * 90, (level * 5 + row + 1) * 90), want.rows[count]!)
    }
  })
  test.each([
    [2, 1],
    [6, 4],
    [9, 3],
  ])('in groups of %i, of which %i go', (m, zeros) => {
    const found = obsGroups(layer, m, zeros)!
    for (let row = 0; row < 5; row++) {
      const want = oracleGroups(rowOf(layer.weight, row), inverse, m, zeros)
      expect([...found.kept.slice(row * 90, row * 90 + 90)]).toEqual(want.live.map(Number))
      close(rowOf(found.dense, row), want.weight)
    }
  })
  test.each([
    [2, 0.1, 1],
    [4, 0.03, 7],
  ])('rounding to %i bits with steps of %f', (bits, scale, zero) => {
    const mask = Uint8Array.from(
      randomStream(1, 'mask')
        .uniform([5 * 90])
        .toArray() as Float32Array,
      (x) => Number(x < 0.6),
    )
    for (const kept of [undefined, mask]) {
      const found = obsQuantize({ ...layer, mask: kept }, gridOf(5, 90, { bits, scale, zero }))!
      for (let row = 0; row < 5; row++) {
        const own = kept?.subarray(row * 90, row * 90 + 90)
        const want = oracleQuantize(rowOf(layer.weight, row), inverse, {
          bits,
          scale,
          zero,
          ...(own && { mask: own }),
        })
        expect([...(found.codes.toArray() as Uint8Array).slice(row * 90, row * 90 + 90)]).toEqual([
          ...want.codes,
        ])
        expect(Math.abs(found.losses[row]! / want.loss - 1)).toBeLessThan(1e-8)
      }
    }
  })
})

describe('what was removed before', () => {
  const layer = problemOf({ rows: 4, columns: 24, tokens: 300, seed: 5 })
  const mask = Uint8Array.from({ length: 96 }, (_, i) => Number(i % 5 > 1))
  const weight = tensor(
    numbers(layer.weight).map((x, i) => (mask[i] ? x : 0)),
    [4, 24],
    'f64',
  )

  test('stays exactly 0, costs nothing and comes first', () => {
    const trace = obsTrace({ ...layer, weight, mask })!
    for (let row = 0; row < 4; row++) {
      const gone = Array.from({ length: 24 }, (_, i) => i).filter((i) => !mask[row * 24 + i])
      expect([...trace.order.slice(row * 24, row * 24 + gone.length)]).toEqual(gone)
      expect([...trace.losses.slice(row * 24, row * 24 + gone.length)]).toEqual(gone.map(() => 0))
    }
    const none = numbers(obsRows({ ...layer, weight, mask }, trace, [new Uint32Array(4)])!)
    expect([...none]).toEqual([...numbers(weight)])
  })
  test('takes no part in the next steps: they are those of the Hessian of what is left', () => {
    const trace = obsTrace({ ...layer, weight, mask })!
    const kept = Array.from({ length: 24 }, (_, i) => i).filter((i) => mask[i])
    const part = tensor(
      kept.flatMap((p) => kept.map((q) => numbers(layer.hessian)[p * 24 + q]!)),
      [kept.length, kept.length],
      'f64',
    )
    const own = tensor(
      kept.map((p) => numbers(weight)[p]!),
      [1, kept.length],
      'f64',
    )
    const alone = obsTrace({ weight: own, inverse: choleskyInverse(cholesky(part)) })!
    expect([...trace.order.slice(24 - kept.length, 24)]).toEqual([...alone.order].map((p) => kept[p]))
  })
  test('counts in its group', () => {
    const { kept } = obsGroups({ ...layer, weight, mask }, 4, 2)!
    for (let group = 0; group < 96; group += 4) {
      const before = mask.slice(group, group + 4).reduce((sum, bit) => sum + bit, 0)
      expect(kept.slice(group, group + 4).reduce((sum, bit) => sum + bit, 0)).toBe(Math.min(before, 2))
    }
  })
})

describe('refusals', () => {
  const { weight, inverse } = problemOf({ rows: 2, columns: 8, tokens: 100 })
  test('shapes that do not fit', () => {
    expect(() => obsTrace({ weight, inverse: weight })).toThrow(/do not fit/)
    expect(() => obsTrace({ weight, inverse, mask: new Uint8Array(3) })).toThrow(/do not fit/)
    expect(() => obsTrace({ weight, inverse }, 0)).toThrow(/1 to 64 columns/)
    expect(() => obsTrace({ weight, inverse }, 65)).toThrow(/1 to 64 columns/)
    expect(() => obsGroups({ weight, inverse }, 3, 1)).toThrow(/do not fit/)
    const trace = obsTrace({ weight, inverse })!
    expect(() => obsRows({ weight, inverse }, trace, [Uint32Array.of(9, 0)])).toThrow(/do not fit/)
    const order = Uint32Array.from({ length: 8 }, () => 1)
    expect(() =>
      obsQuantize({ weight, inverse }, { ...gridOf(2, 8, { bits: 2, scale: 1, zero: 1 }), order }),
    ).toThrow(/grid/)
    expect(() => obsQuantize({ weight, inverse }, gridOf(2, 8, { bits: 2, scale: 1, zero: 4 }))).toThrow(
      /grid/,
    )
    expect(() => obsQuantize({ weight, inverse }, gridOf(2, 8, { bits: 2, scale: 0, zero: 0 }))).toThrow(
      /grid/,
    )
  })
  test('an inverse without a positive diagonal gives nothing', () => {
    const negative = inverse.mul(-1)
    expect(obsTrace({ weight, inverse: negative })).toBeUndefined()
    expect(obsTrace({ weight, inverse: negative }, 4)).toBeUndefined()
    expect(obsGroups({ weight, inverse: negative }, 4, 2)).toBeUndefined()
    expect(
      obsQuantize({ weight, inverse: negative }, gridOf(2, 8, { bits: 2, scale: 1, zero: 1 })),
    ).toBeUndefined()
  })
  test('a stop ends the work', () => {
    callNative((native) => native.setAborted(true))
    try {
      expect(() => obsTrace({ weight, inverse })).toThrow(expect.objectContaining({ code: 'PARE_E_ABORTED' }))
    } finally {
      callNative((native) => native.setAborted(false))
    }
  })
})

function gridOf(
  rows: number,
  columns: number,
  { bits, scale, zero }: { bits: number; scale: number; zero: number },
) {
  return {
    bits,
    scales: tensor(
      Float64Array.from({ length: rows }, () => scale),
      [rows, 1],
      'f64',
    ),
    zeros: tensor(
      Uint8Array.from({ length: rows }, () => zero),
      [rows, 1],
      'u8',
    ),
    groupOf: new Uint32Array(columns),
  }
}

/** By Gauss and Jordan. */
function solve(matrix: number[][], right: Float64Array): number[] {
  const rows = matrix.map((row, i) => [...row, right[i]!])
  for (const [i, row] of rows.entries())
    for (const [k, other] of rows.entries()) {
      if (k === i) continue
      const factor = other[i]! / row[i]!
      for (let j = i; j < other.length; j++) other[j]! -= factor * row[j]!
    }
  return rows.map((row, i) => row.at(-1)! / row[i]!)
}

/** Hundreds of f64 downdates of a matrix with a condition of some thousands. */
function close(found: Float64Array, want: Float64Array) {
  const scale = Math.max(...want.map(Math.abs), 1e-300)
  for (const [i, x] of found.entries()) expect(Math.abs(x - want[i]!)).toBeLessThan(1e-8 * scale)
}
