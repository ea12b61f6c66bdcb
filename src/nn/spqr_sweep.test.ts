import { describe, expect, test } from 'vitest'
import { NumericalError, ShapeError } from '../tensor/errors.ts'
import { randomStream, setThreads, type Tensor, tensor, threads } from '../tensor/index.ts'
import { oracleSpqr } from './spqr_sweep.oracle.suite.ts'
import { type SpqrSweepOptions, spqrSweep } from './spqr_sweep.ts'
import { dampedHessian, sweepFactor, syntheticLayer } from './synthetic_layer.suite.ts'
import type { BilevelValues } from './values/bilevel_grid.ts'
import type { SparseRowValues } from './values/sparse_rows.ts'
import { decodeStored, type StoredValues } from './values/values.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const layer = syntheticLayer({ seed: 3, rows: 32, columns: 48, tokens: 300 })
const hessian = dampedHessian(layer.gram, 0.1)
const sorted = randomStream(1, 'order').permutation(48).toArray() as Uint32Array
const usual: SpqrSweepOptions = {
  ...{ bits: 3, groupSize: 16, roundZero: false, threshold: 0.1, leaveOneOut: true, block: 128 },
  second: { scaleBits: 3, zeroBits: 3, run: 16 },
}
const unwrapped = (values: StoredValues) => (values.kind === 'permuted' ? values.values : values)
function partsOf(values: StoredValues) {
  const sum = unwrapped(values) as StoredValues & { kind: 'sum' }
  return { grid: sum.terms[0] as BilevelValues, outliers: sum.terms[1] as SparseRowValues }
}

describe.each<[string, Partial<SpqrSweepOptions>]>([
  ['the usual setting', {}],
  ['sorted columns', { order: sorted }],
  ['groups fitted with their outliers', { leaveOneOut: false }],
  ['no outliers', { threshold: Number.POSITIVE_INFINITY }],
  ['other widths', { bits: 4, groupSize: 8, second: { scaleBits: 4, zeroBits: 5, run: 8 } }],
  ['f16 scales and offsets', { second: undefined, order: sorted }],
])('%s', (_, changed) => {
  const order = changed.order
  const factor = sweepFactor(hessian, order)
  const options = { ...usual, ...changed, factor }
  test('the native sweep equals plain loops, bit for bit in f64', () => {
    const found = spqrSweep(layer.weight, options)
    const expected = oracleSpqr(layer.weight.toArray() as Float64Array, 48, {
      ...options,
      factor: factor.toArray() as Float64Array,
    })
    const stored = unwrapped(found.values)
    const { grid, outliers } = stored.kind === 'sum' ? partsOf(stored) : { grid: stored, outliers: undefined }
    expect(numbers((grid as BilevelValues).codes)).toEqual([...expected.codes])
    expect(numbers(found.dense)).toEqual([...expected.dense])
    if (outliers) {
      expect([...outliers.columns]).toEqual(expected.outliers.map(({ column }) => column))
      expect([...outliers.values]).toEqual(expected.outliers.map(({ value }) => value))
      expect(found.outliers).toBe(expected.outliers.length)
    }
    const loss = numbers(found.losses).reduce((a, b) => a + b)
    expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(1e-12)
  })
  test('what is stored decodes to the values of the sweep, in f32 and in f64', () => {
    for (const dtype of ['f32', 'f64'] as const) {
      const { values, dense } = spqrSweep(layer.weight.cast(dtype), {
        ...options,
        factor: factor.cast(dtype),
      })
      expect(numbers(decodeStored(values))).toEqual(numbers(dense))
    }
  })
})

test('groups of any width and rows of any height work where scales are f16, and zeros may be whole', () => {
  const weight = layer.weight.slice(0, 0, 19).contiguous()
  for (const roundZero of [false, true])
    for (const groupSize of [1, 2, 3, 24, 48]) {
      const options = { ...usual, groupSize, roundZero, second: undefined, factor: sweepFactor(hessian) }
      const { values, dense } = spqrSweep(weight, options)
      expect(numbers(decodeStored(values))).toEqual(numbers(dense))
    }
})
test('results do not depend on the number of threads', () => {
  const before = threads()
  const factor = sweepFactor(hessian).cast('f32')
  const results = [1, 2, 5].map((count) => {
    setThreads(count)
    return numbers(spqrSweep(layer.weight.cast('f32'), { ...usual, factor }).dense)
  })
  setThreads(before)
  expect(results[1]).toEqual(results[0])
  expect(results[2]).toEqual(results[0])
})
test('rows of zeros stay 0 beside others where their tile is all zeros, and else near 0', () => {
  const values = Float64Array.from(numbers(layer.weight), (w, i) => (i < 16 * 48 || i >= 31 * 48 ? 0 : w))
  const found = spqrSweep(tensor(values, [32, 48], 'f64'), { ...usual, threshold: Number.POSITIVE_INFINITY })
  const dense = numbers(found.dense)
  expect(dense.slice(0, 16 * 48).every((x) => x === 0)).toBe(true)
  const largest = Math.max(...dense.slice(31 * 48).map(Math.abs))
  expect(largest).toBeLessThan(0.25 * Math.max(...dense.map(Math.abs)))
})
test('equal weights of a group, and groups far from 0, keep their value', () => {
  const values = Float64Array.from({ length: 16 * 48 }, (_, i) =>
    i % 48 < 16 ? 0.75 : i % 48 < 32 ? -3 : 5 + (i % 3) / 1024,
  )
  const { dense } = spqrSweep(tensor(values, [16, 48], 'f64'), usual)
  for (const [i, x] of numbers(dense).entries()) expect(Math.abs(x - values[i]!)).toBeLessThan(6 / 1024)
})
test('a scale far below those beside it ends in finite values', () => {
  const values = Float64Array.from(numbers(layer.weight), (w, i) => (i % (48 * 16) < 48 ? w * 1e-9 : w))
  const { values: stored, dense } = spqrSweep(tensor(values, [32, 48], 'f64'), usual)
  expect(numbers(dense).every(Number.isFinite)).toBe(true)
  expect(numbers(decodeStored(stored))).toEqual(numbers(dense))
})
test('weights that are not finite, that f16 does not hold, and shapes that do not fit are refused', () => {
  const filled = (value: number) =>
    tensor(new Float64Array(16 * 16).fill(1).fill(value, 7, 8), [16, 16], 'f64')
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 1e6])
    expect(() => spqrSweep(filled(value), { ...usual, threshold: 0 })).toThrow(NumericalError)
  for (const changed of [{ groupSize: 5 }, { groupSize: 0 }, { bits: 9 }])
    expect(() => spqrSweep(filled(1), { ...usual, ...changed })).toThrow(ShapeError)
  expect(() => spqrSweep(tensor(new Float64Array(8 * 16), [8, 16], 'f64'), usual)).toThrow(ShapeError)
})
