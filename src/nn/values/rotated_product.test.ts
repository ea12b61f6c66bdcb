import { describe, expect, test } from 'vitest'
import { linear, randomStream, scope, type Tensor, tensor, vjp } from '../../tensor/index.ts'
import { turnBack } from './random_orthogonal.ts'
import { heldBytes, roundedInputs } from './resident.suite.ts'
import { residentSource } from './resident_source.ts'
import { decodeRotatedGrid, type RotatedGridValues, rotationsOf } from './rotated_grid.ts'
import { rotatedWeight, turnedInputs } from './rotated_product.ts'
import { bitsOfStored } from './values.ts'

const largest = (x: Tensor) => x.abs().max().item()
const wide = (x: Tensor) => x.cast('f64')
function valuesOf([rows, columns]: readonly [number, number], bits: number): RotatedGridValues {
  const stream = randomStream(bits, 'rotated product')
  const codes = stream
    .uniform([rows, columns])
    .mul(2 ** bits)
    .floor()
  return {
    ...{ kind: 'rotated_grid', bits, seed: 5, scale: 0.75 },
    codes: codes.cast('u8'),
    columnScales: stream.uniform([columns]).add(0.5).cast('f16').cast('f32'),
  }
}
/** Primes, sizes of one, of two equal factors, and of factors that leave a tail. */
const shapes = [
  [1, 1],
  [13, 30],
  [48, 257],
  [1009, 96],
  [64, 521],
] as const

describe.each(shapes)('%i x %i', (...shape) => {
  const [rows, columns] = shape
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('%i bits: products with floats and with rounded inputs', (bits) => {
    scope(() => {
      const values = valuesOf(shape, bits)
      const weight = decodeRotatedGrid(values)
      const source = residentSource(values)
      expect(source.form).toBe(`rotated ${bits} bits`)
      expect(source.dense().toArray()).toEqual(weight.toArray())
      const packed = rotatedWeight(values)
      const left = rotationsOf(5, shape).left
      const levels = values.codes.cast('f64').sub((2 ** bits - 1) / 2)
      for (const many of [1, 4, 6, 20]) {
        const x = randomStream(many, 'x').normal([many, columns])
        const want = linear(wide(x), wide(weight))
        // Each output mixes those of all rows, so that rounding goes by the largest of them.
        const most = largest(wide(x).square().sum([-1]).sqrt()) * Math.max(largest(weight), 1)
        expect(largest(wide(source.matmul(x)).sub(want))).toBeLessThan(most * Math.sqrt(columns) * 2 ** -20)
        const rounded = wide(roundedInputs(turnedInputs(packed, x)))
        const inner = turnBack(left, linear(rounded, levels))
        const found = residentSource(values, 'int8').matmul(x)
        expect(largest(wide(found).sub(inner))).toBeLessThan(most * Math.sqrt(columns) * 2 ** -20)
      }
    })
  })
  test('the gradient of the inputs goes through the numbers', () => {
    scope(() => {
      const values = valuesOf(shape, 3)
      const x = randomStream(1, 'x').normal([2, columns])
      const dy = randomStream(2, 'dy').normal([2, rows])
      const source = residentSource(values)
      const { value, pull } = vjp(([own]: [Tensor]) => source.matmul(own), [x])
      const [gradient] = pull([[value, dy]])
      expect(largest(gradient!.sub(dy.matmul(decodeRotatedGrid(values))))).toBeLessThan(1e-3)
    })
  })
})
test('a row of inputs has the same bits alone and among others; a bias is added', () => {
  scope(() => {
    const source = residentSource(valuesOf([48, 257], 4))
    const x = randomStream(1, 'x').normal([6, 257])
    const all = source.matmul(x)
    expect(source.matmul(x.slice(0, 2, 3)).toArray()).toEqual(all.slice(0, 2, 3).contiguous().toArray())
    const bias = randomStream(1, 'bias').normal([48])
    expect(largest(source.matmul(x, bias).sub(all.add(bias)))).toBe(0)
  })
})
test.each([2, 3, 4, 8])('%i bits are held in little more than is stored', (bits) => {
  scope(() => {
    const values = valuesOf([576, 1536], bits)
    const held = heldBytes(residentSource(values))
    // The maps, whose factors are 24 x 24 twice and 32 x 32 and 48 x 48, and their orders.
    const maps = 4 * (2 * 24 ** 2 + 32 ** 2 + 48 ** 2) + 4 * (576 + 1536)
    expect(held - maps - 4 * 1536 - 4 * 576).toBe(bitsOfStored(values) / 8 - 8)
    expect(held).toBeLessThan((1.2 * bitsOfStored(values)) / 8)
  })
})
test('a weight of nothing but zeros multiplies to zeros', () => {
  const values = { ...valuesOf([8, 64], 2), scale: 0 }
  const x = tensor(new Float32Array(64).fill(1), [1, 64])
  expect(largest(residentSource(values).matmul(x))).toBe(0)
})
