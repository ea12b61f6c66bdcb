import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ShapeError } from '../../tensor/errors.ts'
import { randomStream, scope, type Tensor, tensor } from '../../tensor/index.ts'
import { type BilevelValues, decodeBilevel } from './bilevel_grid.ts'
import { type BilevelWeight, bilevelWeight, bilevelWords, decodeBilevelWeight } from './bilevel_product.ts'
import { storedProduct } from './stored_words.ts'

const bilevelProduct = (weight: BilevelWeight, x: Tensor): Tensor =>
  storedProduct(bilevelWords(weight), weight.shape[0], x)

interface Shape {
  tiles: number
  height: number
  groups: number
  width: number
  bits: number
  inputs: number
  wholeZeros: boolean
  /** Of the scales of scales: the smallest numbers of f16 have no leading bit. */
  size: number
}

function random({ tiles, height, groups, width, bits, wholeZeros, size }: Shape): BilevelValues {
  const stream = randomStream(5, 'bilevel')
  const rows = tiles * height
  const codes = (columns: number) =>
    tensor(
      Uint8Array.from({ length: rows * columns }, () => stream.integer(2 ** bits)),
      [rows, columns],
      'u8',
    )
  const halves = (factor: number) => stream.normal([tiles, groups]).mul(factor).cast('f16').cast('f32')
  return {
    ...{ kind: 'bilevel', bits, tile: { rows: height, columns: width } },
    ...{ codes: codes(groups * width), scaleCodes: codes(groups), zeroCodes: codes(groups) },
    second: {
      ...{ scaleScale: halves(size), scaleZero: halves(4) },
      ...(!wholeZeros && { zeroScale: halves(1), zeroZero: halves(4) }),
    },
  }
}

const shapes = fc.record({
  tiles: fc.integer({ min: 1, max: 3 }),
  height: fc.constantFrom(1, 3, 16),
  groups: fc.integer({ min: 1, max: 35 }),
  width: fc.constantFrom(16, 32, 48),
  bits: fc.integer({ min: 1, max: 4 }),
  inputs: fc.constantFrom(1, 2, 4, 5, 16, 19),
  wholeZeros: fc.boolean(),
  size: fc.constantFrom(1, 1e-3, 1e-6),
})
const numbers = (x: Tensor) => Array.from(x.toArray(), Number)

test('numbers come back from the packed form bit for bit, and products are those with them', () => {
  fc.assert(
    fc.property(shapes, (shape) =>
      scope(() => {
        const values = random(shape)
        const weight = bilevelWeight(values)!
        const decoded = decodeBilevel(values)
        expect(numbers(decodeBilevelWeight(weight))).toEqual(numbers(decoded))
        const x = randomStream(6, 'x').normal([shape.inputs, weight.shape[1]])
        const [wide, exact] = [decoded.cast('f64'), x.cast('f64')]
        const wanted = exact.matmul(wide.transpose())
        const bound = exact.abs().matmul(wide.abs().transpose())
        const over = bilevelProduct(weight, x).cast('f64').sub(wanted).abs().sub(bound.mul(2e-6))
        expect(over.max().item()).toBeLessThanOrEqual(0)
      }),
    ),
    { numRuns: 60 },
  )
})
test('a row has the same bits alone and among others', () => {
  scope(() => {
    const shape = {
      ...{ tiles: 2, height: 16, groups: 9, width: 16 },
      ...{ bits: 3, wholeZeros: false, size: 1 },
    }
    const weight = bilevelWeight(random({ ...shape, inputs: 7 }))!
    const x = randomStream(6, 'x').normal([7, 144])
    const together = bilevelProduct(weight, x)
    for (let row = 0; row < 7; row++) {
      const alone = bilevelProduct(weight, x.slice(0, row, row + 1))
      expect(numbers(alone)).toEqual(numbers(together.slice(0, row, row + 1)))
    }
  })
})
test('what has no packed form is told, and damaged codes and inputs that do not fit are refused', () => {
  const shape = {
    ...{ tiles: 1, height: 4, groups: 2, width: 16 },
    ...{ bits: 2, inputs: 1, wholeZeros: true, size: 1 },
  }
  const values = random(shape)
  expect(bilevelWeight({ ...values, bits: 5 })).toBeUndefined()
  expect(bilevelWeight({ ...values, tile: { rows: 4, columns: 8 } })).toBeUndefined()
  expect(() => bilevelWeight({ ...values, codes: values.codes.add(4) })).toThrow(ShapeError)
  expect(() => bilevelProduct(bilevelWeight(values)!, randomStream(6, 'x').normal([1, 64]))).toThrow(
    ShapeError,
  )
})
