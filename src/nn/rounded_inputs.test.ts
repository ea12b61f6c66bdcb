import { describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { randomStream, scope, type Tensor, tensor, valueAndGrad } from '../tensor/index.ts'
import { inputRounding, roundedInputs } from './rounded_inputs.ts'
import { denseSource } from './weight_source.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)

test('each token has a scale of its own, worked by hand', () => {
  scope(() => {
    const x = tensor([127, 1.4, -2.5, 12.7, 0.14, -0.25], [2, 3], 'f64')
    const rounded = numbers(inputRounding({ bits: 8 })(x))
    // Steps 1 and 0.1; halves go to even.
    for (const [i, value] of [127, 1, -2, 12.7, 0.1, -0.2].entries())
      expect(rounded[i]).toBeCloseTo(value, 12)
  })
})
test('per tensor the largest of all tokens sets the scale', () => {
  scope(() => {
    const x = tensor([127, 1.4, 12.7, 0.14], [2, 2], 'f64')
    expect(numbers(inputRounding({ per: 'tensor' })(x))).toEqual([127, 1, 13, 0])
  })
})
test('4 bits go from -8 to 7 of a scale of a seventh; a smaller range reaches -8', () => {
  scope(() => {
    const x = tensor([-7, 7, 3.4], [1, 3], 'f64')
    expect(numbers(inputRounding({ bits: 4 })(x))).toEqual([-7, 7, 3])
    // Steps of 1/2: -14 and 14 are cut to -8 and 7.
    expect(numbers(inputRounding({ bits: 4, clip: 0.5 })(x))).toEqual([-4, 3.5, 3.5])
  })
})
test('8 bits are even on both sides, with a smaller range too', () => {
  scope(() => {
    const x = tensor([-254, 254, 3], [1, 3], 'f64')
    expect(numbers(inputRounding({ clip: 0.5 })(x))).toEqual([-127, 127, 3])
  })
})
describe('difficult inputs', () => {
  test('zeros stay zeros', () => {
    scope(() => {
      expect(numbers(inputRounding()(tensor([0, 0, 0, 1], [2, 2])))).toEqual([0, 0, 0, 1])
    })
  })
  test('a token that is not finite is seen in its own output alone', () => {
    scope(() => {
      const y = numbers(inputRounding()(tensor([Number.NaN, 1, 1, 1], [2, 2])))
      expect(y[0]).toBeNaN()
      expect(y.slice(2)).toEqual([1, 1])
    })
  })
  test('the smallest numbers of f32 make no infinity', () => {
    scope(() => {
      expect(numbers(inputRounding()(tensor([1e-44, 0], [1, 2]))).every(Number.isFinite)).toBe(true)
    })
  })
})
test('the source multiplies rounded inputs; weight, parameters and size are those behind it', () => {
  scope(() => {
    const inner = denseSource(tensor([1, 1], [1, 2]))
    const source = roundedInputs(inner, { bits: 4 })
    expect(numbers(source.matmul(tensor([7, 0.4], [1, 2]), tensor([10])))).toEqual([17])
    expect(source.shape).toEqual([1, 2])
    expect(source.size()).toEqual(inner.size())
    expect([...source.parameters().keys()]).toEqual(['weight'])
    expect(numbers(source.dense())).toEqual([1, 1])
  })
})
test('gradients pass the rounding, those of weights see the rounded inputs', () => {
  scope(() => {
    const stream = randomStream(1, 'x')
    const [x, weight] = [stream.normal([3, 4]), stream.normal([2, 4])]
    const { gradients } = valueAndGrad(
      ({ x, weight }: { x: Tensor; weight: Tensor }) => roundedInputs(denseSource(weight)).matmul(x).sum(),
      { x, weight },
    )
    // d sum(x' W^T) / dx = the column sums of W; / dW = those of x'.
    const columns = numbers(weight.sum(0))
    for (const [i, value] of numbers(gradients.x).entries()) expect(value).toBeCloseTo(columns[i % 4]!, 5)
    const inputs = numbers(inputRounding()(x).sum(0))
    for (const [i, value] of numbers(gradients.weight).entries()) expect(value).toBeCloseTo(inputs[i % 4]!, 5)
  })
})
test('impossible options are refused', () => {
  for (const options of [{ bits: 5 }, { per: 'row' }, { clip: 0 }, { clip: 1.1 }, { clip: Number.NaN }])
    expect(() => inputRounding(options as never)).toThrow(OptionError)
})
