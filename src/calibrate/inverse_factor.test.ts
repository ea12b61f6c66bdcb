import { describe, expect, test } from 'vitest'
import { dampedHessian, sweepFactor, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { NumericalError } from '../tensor/errors.ts'
import { matmul, randomStream, type Tensor, tensor } from '../tensor/index.ts'
import { inverseFactor } from './inverse_factor.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const { gram } = syntheticLayer({ seed: 4, columns: 24, tokens: 200 })
const order = randomStream(4, 'order').permutation(24).toArray() as Uint32Array
const diagonal = (...values: number[]) =>
  tensor(
    Float64Array.from({ length: values.length ** 2 }, (_, i) =>
      i % (values.length + 1) ? 0 : values[i % values.length]!,
    ),
    [values.length, values.length],
    'f64',
  )

describe.each([
  ['first to last', undefined],
  ['another order', order],
])('%s', (_, places) => {
  const { factor, damping, dead } = inverseFactor(gram, { damping: 0.02, order: places })
  test('the transposed factor is lower, and its transposed times itself inverts the damped Hessian', () => {
    const hessian = dampedHessian(gram, 0.02)
    const place = (i: number) => places?.[i] ?? i
    const sorted = tensor(
      Float64Array.from(hessian, (_, at) => hessian[place(Math.floor(at / 24)) * 24 + place(at % 24)]!),
      [24, 24],
      'f64',
    )
    const identity = numbers(matmul(matmul(factor, factor.transpose()), sorted))
    for (const [at, value] of identity.entries()) expect(value).toBeCloseTo(at % 25 === 0 ? 1 : 0, 10)
    for (const [at, value] of numbers(factor).entries())
      if (at % 24 > Math.floor(at / 24)) expect(value).toBe(0)
    expect([damping, dead]).toEqual([0.02, []])
  })
  test('it is what the inverse itself and its own factor give', () => {
    const other = numbers(sweepFactor(dampedHessian(gram, 0.02), places))
    const largest = Math.max(...other.map(Math.abs))
    for (const [at, value] of numbers(factor).entries())
      expect(Math.abs(value - other[at]!)).toBeLessThan(1e-10 * largest)
  })
  test('in f32 it is the same factor, rounded', () => {
    const single = inverseFactor(gram, { damping: 0.02, order: places, dtype: 'f32' }).factor
    expect(single.dtype).toBe('f32')
    expect(numbers(single)).toEqual(numbers(factor).map(Math.fround))
  })
})

test('a diagonal Hessian has the inverse roots of its diagonal', () => {
  // Mean 6, so that a damping of 0.5 adds 3.
  expect(numbers(inverseFactor(diagonal(1, 13, 4), { damping: 0.5 }).factor.select(0, 0))).toEqual([
    0.5, 0, 0,
  ])
})
test('inputs that are always 0 count 1 on the diagonal, and are named', () => {
  const { factor, dead } = inverseFactor(diagonal(0, 3, 0, 4), { damping: 0.5 })
  expect(dead).toEqual([0, 2])
  // Mean of 1, 3, 1, 4 is 2.25.
  expect(factor.select(0, 0).select(0, 0).item()).toBeCloseTo((1 + 1.125) ** -0.5, 12)
})
test('the ladder goes on from the damping that was asked for, and says where it stopped', () => {
  const bent = diagonal(-0.05, 1, 1, 1)
  expect(inverseFactor(bent, { damping: 1e-4 }).damping).toBe(0.1)
  expect(inverseFactor(bent, { damping: 0.08 }).damping).toBe(0.08)
  expect(inverseFactor(diagonal(-0.3, 1, 1, 1), { damping: 0.2 }).damping).toBe(1)
})
test('where even the whole mean is too little, the error says so', () => {
  const solve = () => inverseFactor(diagonal(-30, 12, 12, 12))
  expect(solve).toThrow(NumericalError)
  expect(solve).toThrow(/4 inputs .* damping 1;/)
})
test.each([Number.NaN, Number.POSITIVE_INFINITY])(
  '%d anywhere in the sums is an error of its own',
  (value) => {
    for (const at of [0, 1]) {
      const values = Float64Array.of(2, 0.5, 0.5, 2)
      values[at] = value
      if (at === 1) values[2] = value
      expect(() => inverseFactor(tensor(values, [2, 2], 'f64'))).toThrow(
        expect.objectContaining({ code: 'PARE_E_NOT_FINITE' }),
      )
    }
  },
)
test('the Gram matrix is left as it was', () => {
  const before = numbers(gram)
  inverseFactor(gram, { order })
  expect(numbers(gram)).toEqual(before)
})
