import { expect, test } from 'vitest'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { type DType, setThreads, type Tensor, tensor, threads } from '../tensor/index.ts'
import { clipFactor, clipValues, gradientNorm, notFiniteError } from './gradients.ts'

const of = (...values: number[]) => tensor(values)

test('the norm is that of all gradients as one vector', () => {
  const gradients = new Map([
    ['a', of(2, 3)],
    ['b', tensor([6], [1], 'f64')],
    ['c', tensor([0], [1], 'bf16')],
  ])
  expect(gradientNorm(gradients)).toEqual({ norm: 7, notFinite: [] })
  expect(gradientNorm(gradients, 0.5).norm).toBe(3.5)
  expect(gradientNorm(new Map())).toEqual({ norm: 0, notFinite: [] })
})
test('large and small f32 gradients have a norm, though their squares are no f32', () => {
  expect(gradientNorm(new Map([['a', of(3e30, 4e30)]])).norm).toBeCloseTo(5e30, -25)
  expect(gradientNorm(new Map([['a', of(3e-30, 4e-30)]])).norm).toBeCloseTo(5e-30, 35)
})
test('gradients with NaN and infinities are named, those with large numbers are not', () => {
  const gradients = new Map<string, Tensor>([
    ['fine', of(1)],
    ['nan', of(1, NaN)],
    ['large', tensor([1e200], [1], 'f64')],
    ['infinite', tensor([0, -Infinity], [2], 'bf16')],
  ])
  const { norm, notFinite } = gradientNorm(gradients)
  expect(notFinite).toEqual(['nan', 'infinite'])
  expect(norm).toBeNaN()
  expect(gradientNorm(new Map([['large', gradients.get('large')!]]))).toEqual({
    norm: Infinity,
    notFinite: [],
  })
})
test('a norm has the same bits for 1, 2 and 3 threads', () => {
  const before = threads()
  const numbers = Float64Array.from({ length: 200_003 }, (_, i) => Math.sin(i))
  const found = (['f32', 'f64', 'bf16'] as DType[]).map((dtype) => {
    const gradients = new Map([['a', tensor(numbers, [200_003], dtype)]])
    return [1, 2, 3].map((count) => {
      setThreads(count)
      return gradientNorm(gradients).norm
    })
  })
  setThreads(before)
  for (const norms of found) expect(new Set(norms).size).toBe(1)
})
test('a norm above the limit is brought down to it, one below stays', () => {
  expect(clipFactor(9, 4.5) * 9).toBeCloseTo(4.5, 5)
  expect([clipFactor(0.5, 1), clipFactor(0, 1), clipFactor(Infinity, 1)]).toEqual([1, 1, 0])
  expect(() => clipFactor(NaN, 1)).toThrow(NumericalError)
  for (const limit of [0, -1, NaN]) expect(() => clipFactor(1, limit)).toThrow(OptionError)
})
test('values are clipped one by one, and NaN shows', () => {
  const given = new Map([['a', of(-3, 0.25, 3, NaN)]])
  expect([...clipValues(given, 0.5).get('a')!.toArray()]).toEqual([-0.5, 0.25, 0.5, NaN])
  expect([...given.get('a')!.toArray()]).toEqual([-3, 0.25, 3, NaN])
  expect(() => clipValues(given, 0)).toThrow(OptionError)
})
test('the error names the step and the first parameters', () => {
  expect(notFiniteError(7, ['a', 'b', 'c', 'd', 'e'], NaN).message).toBe(
    'step 7: the gradient of a, b, c and 2 more is not finite (loss NaN); lower the rate, clip the norm, or skip such steps',
  )
  expect(notFiniteError(0, []).message).toMatch(/^step 0: the loss is not finite;/)
})
