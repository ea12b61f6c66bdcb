import { describe, expect, test } from 'vitest'
import { inverseFactor } from '../calibrate/inverse_factor.ts'
import { columnSweep } from '../nn/column_sweep.ts'
import { dampedHessian, outputError, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { scope, setThreads, tensor, threads } from '../tensor/index.ts'
import { numbers, rowGrid } from './gptq_layer.suite.ts'
import { ldlqOracle, unitLower } from './ldlq.oracle.suite.ts'
import { type EvenLevels, greedyPass, ldlq, nearestLevel, reversed } from './ldlq.ts'

const layer = (rows: number, columns: number, seed = 1) => {
  const { weight, gram } = syntheticLayer({ seed, rows, columns, tokens: 4 * columns })
  const hessian = dampedHessian(gram, 0.01)
  const { factor } = inverseFactor(gram, { damping: 0.01, order: reversed(columns) })
  const scale = 2.4 * Math.sqrt(weight.square().mean().item())
  return { weight, hessian, factor, scale }
}
const valuesOf = (codes: Uint8Array, { bits, scale }: EvenLevels) =>
  Float64Array.from(codes, (code) => scale * ((2 * code) / (2 ** bits - 1) - 1))

test('levels are evenly spaced from -scale to scale, and what lies beyond takes the outermost', () => {
  const nearest = nearestLevel({ bits: 2, scale: 3 })
  expect([-9, -3, -2.1, -1.9, 0.1, 1, 2.1, 9].map((x) => nearest(x))).toEqual(
    [0, 0, 0, 1, 2, 2, 3, 3].map((code) => ({ code, level: 2 * code - 3 })),
  )
  expect(nearestLevel({ bits: 2, scale: 0 })(5)).toEqual({ code: 0, level: 0 })
})
test('L is unit lower, and L D L^T is H', () => {
  expect([...unitLower(Float64Array.of(4, 2, 2, 5), 2)]).toEqual([1, 0, 0.5, 1])
})

describe.each([
  [5, 3],
  [16, 64],
  [17, 65],
  [40, 150],
])('a layer of %i x %i', (rows, columns) => {
  test.each([1, 2, 4, 8])('in blocks it gives the codes of LDL feedback one by one, at %i bits', (bits) => {
    const { weight, hessian, factor, scale } = layer(rows, columns)
    const levels = { bits, scale }
    const expected = ldlqOracle(weight.toArray() as Float64Array, [rows, columns], levels, hessian)
    expect([...ldlq(weight, levels, factor)]).toEqual([...expected])
  })
  test.each([2, 3, 4, 8] as const)(
    'LDL rounding equals GPTQ on flipped columns, code for code, at %i bits',
    (bits) => {
      const { weight, factor } = layer(rows, columns)
      // Rows from -1 to 1 have the levels of the whole; GPTQ has a level at 0, half a step to the side.
      const data = Float64Array.from(weight.toArray() as Float64Array)
      for (let row = 0; row < rows; row++) {
        const own = data.subarray(row * columns, (row + 1) * columns)
        const most = Math.max(...own.map(Math.abs))
        own.forEach((value, i) => {
          own[i] = value / most
        })
        const at = own.findIndex((value) => Math.abs(value) === 1)
        own[(at + 1) % columns] = -own[at]!
      }
      const spread = tensor(data, [rows, columns], 'f64')
      const moved = spread.sub(1 / (2 ** bits - 1))
      const swept = columnSweep(moved, { grid: rowGrid(bits), factor, order: reversed(columns) })
      const { codes } = swept.values as { codes: typeof weight }
      expect([...ldlq(spread, { bits, scale: 1 }, factor)]).toEqual(numbers(codes))
    },
  )
})
test('without a factor each weight goes to its nearest level', () => {
  const { weight, scale } = layer(4, 6)
  const nearest = nearestLevel({ bits: 3, scale })
  expect([...ldlq(weight, { bits: 3, scale })]).toEqual(numbers(weight).map((x) => nearest(x).code))
})
test('codes are the same for every number of threads', () => {
  const { weight, factor, scale } = layer(40, 150)
  const before = threads()
  const runs = [1, 2, 5].map((count) => {
    setThreads(count)
    return [...ldlq(weight, { bits: 2, scale }, factor)]
  })
  setThreads(before)
  expect(runs[1]).toEqual(runs[0])
  expect(runs[2]).toEqual(runs[0])
})

describe('greedy passes', () => {
  test.each([
    [6, 5],
    [12, 70],
  ])('never lose more (%i x %i), and end where no single code can be better', (rows, columns) => {
    const { weight, hessian, factor, scale } = layer(rows, columns)
    const levels = { bits: 2, scale }
    const h = tensor(hessian, [columns, columns], 'f64')
    const loss = (codes: Uint8Array) =>
      scope(() => outputError(weight, tensor(valuesOf(codes, levels), [rows, columns], 'f64'), h))
    const codes = ldlq(weight, levels, factor)
    let last = loss(codes)
    const first = last
    for (let pass = 0; greedyPass(weight, h, levels, codes) > 0; pass++) {
      expect(pass).toBeLessThan(50)
      expect(loss(codes)).toBeLessThan(last)
      last = loss(codes)
    }
    expect(last).toBeLessThan(first)
    for (let at = 0; at < codes.length; at += 7)
      for (let code = 0; code < 4; code++)
        expect(loss(codes.with(at, code))).toBeGreaterThan(last * (1 - 1e-12))
  })
})
