/** What a correct implementation must show of rows: checks 1 to 5 of the method. */
import { describe, expect, test } from 'vitest'
import { tensor } from '../tensor/index.ts'
import { obsQuantize, obsRows, obsTrace } from './greedy_obs.ts'
import { gridOf, numbers, outputChange, problemOf, refit, rowOf, solve } from './greedy_obs_problem.suite.ts'

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
  test('under a diagonal Hessian the order is that of w^2 times its entry, and each loss is half of that', () => {
    const energy = Float64Array.from({ length: 16 }, (_, i) => 1 + ((i * 7) % 16))
    const inverse = tensor(
      Float64Array.from({ length: 256 }, (_, i) => (i % 17 === 0 ? 1 / energy[i % 16]! : 0)),
      [16, 16],
      'f64',
    )
    const { order, losses } = obsTrace({ weight: small.weight, inverse })!
    for (let row = 0; row < 8; row++) {
      const scores = rowOf(small.weight, row).map((w, i) => w * w * energy[i]!)
      const want = Array.from(scores.keys()).sort((a, b) => scores[a]! - scores[b]!)
      expect([...order.slice(row * 16, row * 16 + 16)]).toEqual(want)
      for (const [step, p] of want.entries())
        expect(losses[row * 16 + step]! / scores[p]!).toBeCloseTo(0.5, 12)
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
