import { describe, expect, test } from 'vitest'
import { linear, randomStream, scope, type Tensor, tensor, vjp } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import { blockTypeNames, blockTypeOf, rowBytes } from '../block_types.ts'
import { type AffineValues, type BlockValues, decodeValues } from '../grid.ts'
import { fewRows, packedSource } from './packed_product.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
function blocks(type: BlockValues['type'], rows: number, columns: number): BlockValues {
  const weight = randomStream(rows, 'weight').normal([rows, columns])
  const bytes = callNative((native) =>
    native.blocksQuantize(type, weight.toArray() as Float32Array, columns, undefined),
  )
  return {
    kind: 'blocks',
    type,
    shape: [rows, columns],
    bytes: tensor(bytes, [rows, rowBytes(type, columns)], 'u8'),
  }
}
/** Largest difference over the sum of the magnitudes of the terms. */
function distance(found: Tensor, x: Tensor, weight: Tensor, spread = weight.abs()): number {
  const wide = (y: Tensor) => y.cast('f64')
  const [want, size] = [linear(wide(x), wide(weight)), linear(wide(x).abs(), wide(spread))]
  return wide(found).sub(want).abs().div(size).max().item()
}
/** Each 32 inputs to whole numbers up to 127 times a scale. */
function rounded(x: Tensor): Tensor {
  const values = Float32Array.from(numbers(x))
  for (let start = 0; start < values.length; start += 32) {
    const part = values.subarray(start, start + 32)
    const scale = Math.fround(Math.max(...part.map(Math.abs)) / 127)
    for (const [i, value] of part.entries())
      part[i] = scale * roundHalfEven(Math.fround(value * Math.fround(1 / scale)))
  }
  return tensor(values, x.shape)
}
const roundHalfEven = (x: number) => {
  const below = Math.floor(x)
  return x - below === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)
}

describe.each(blockTypeNames)('%s', (type) => {
  const columns = 2 * Math.max(32, blockTypeOf(type).blockLength)
  test.each([1, 3, 4, 16, 17, 65])('%i rows of inputs give the product with the decoded weight', (many) => {
    const values = blocks(type, 37, columns)
    const x = randomStream(1, 'x').normal([many, columns])
    scope(() => {
      const found = packedSource(values).matmul(x)
      expect(distance(found, x, decodeValues(values))).toBeLessThan(columns * 2 ** -24)
    })
    scope(() => {
      const found = packedSource(values, 'int8').matmul(x)
      expect(distance(found, rounded(x), decodeValues(values))).toBeLessThan(columns * 2 ** -24)
    })
  })
})
/** A grid with some groups, its columns in their order or not, and zeros whole or not. */
function gridOf(
  bits: number,
  groupSize: number,
  columns: number,
  sorted: boolean,
  whole: boolean,
): AffineValues {
  const [rows, groups] = [21, Math.ceil(columns / groupSize)]
  const random = randomStream(bits, 'grid')
  const groupOf = Uint32Array.from({ length: columns }, (_, column) => Math.floor(column / groupSize))
  const order = numbers(random.permutation(columns))
  const levels = random.uniform([rows, groups]).mul(2 ** bits - 1)
  return {
    kind: 'grid',
    grid: { bits, groupSize, symmetric: false, scaleType: 'f16' },
    codes: random
      .uniform([rows, columns])
      .mul(2 ** bits - 0.01)
      .floor()
      .cast('u8'),
    scales: random.uniform([rows, groups]).cast('f16').cast('f32'),
    zeros: whole ? levels.round().cast('u8') : levels,
    groupOf: sorted ? groupOf : Uint32Array.from(order, (at) => groupOf[at]!),
  }
}
test.each([
  { bits: 4, groupSize: 64, columns: 256 },
  { bits: 4, groupSize: 576, columns: 576 },
  { bits: 4, groupSize: 48, columns: 120 },
  { bits: 3, groupSize: 128, columns: 256 },
  { bits: 2, groupSize: 16, columns: 80 },
  { bits: 1, groupSize: 32, columns: 96 },
  { bits: 8, groupSize: 32, columns: 97 },
  { bits: 5, groupSize: 7, columns: 30 },
])(
  'a grid of $bits bits in groups of $groupSize gives its values and their products',
  ({ bits, groupSize, columns }) => {
    for (const sorted of [true, false])
      for (const whole of [true, false])
        scope(() => {
          const values = gridOf(bits, groupSize, columns, sorted, whole)
          const source = packedSource(values)
          const weight = decodeValues(values)
          expect(numbers(source.dense())).toEqual(numbers(weight))
          // Codes and zeros meet the inputs apart, so that a zero counts as much as a level.
          const spread = weight.abs().add(values.scales.max().item() * 2 ** bits)
          for (const many of [1, 5, 40]) {
            const x = randomStream(many, 'x').normal([many, columns])
            expect(distance(source.matmul(x), x, weight, spread)).toBeLessThan(columns * 2 ** -24)
          }
        })
  },
)
test('with int8 each 32 places of a grid in its own order are rounded together', () => {
  scope(() => {
    const values = gridOf(4, 64, 192, true, true)
    const x = randomStream(1, 'x').normal([3, 192])
    const weight = decodeValues(values)
    const found = packedSource(values, 'int8').matmul(x)
    const spread = weight.abs().add(16)
    expect(distance(found, rounded(x), weight, spread)).toBeLessThan(192 * 2 ** -24)
  })
})
test('a row of inputs has the same bits alone and among up to `fewRows`, with floats and with codes', () => {
  for (const type of blockTypeNames)
    for (const activations of ['f32', 'int8'] as const) {
      const values = blocks(type, 19, 512)
      const x = randomStream(2, 'x').normal([fewRows, 512])
      const source = packedSource(values, activations)
      const all = numbers(source.matmul(x))
      for (const count of [1, 2, 5, 7])
        expect(numbers(source.matmul(x.slice(0, 0, count)))).toEqual(all.slice(0, 19 * count))
    }
})
test('a bias, leading axes and the gradient of x are those of the decoded weight', () => {
  const values = blocks('Q4_K', 24, 256)
  const x = randomStream(3, 'x').normal([2, 5, 256])
  const bias = randomStream(3, 'bias').normal([24])
  const [own, plain] = [
    vjp(([y]: [Tensor]) => packedSource(values).matmul(y, bias), [x]),
    vjp(([y]: [Tensor]) => linear(y, decodeValues(values), bias), [x]),
  ]
  expect(own.value.shape).toEqual([2, 5, 24])
  for (const [i, y] of numbers(own.value).entries()) expect(y).toBeCloseTo(numbers(plain.value)[i]!, 4)
  const gradient = randomStream(4, 'gradient').normal([2, 5, 24])
  expect(numbers(own.pull([[own.value, gradient]])[0]!)).toEqual(
    numbers(plain.pull([[plain.value, gradient]])[0]!),
  )
})
test('inputs of another width are refused', () => {
  const source = packedSource(blocks('Q8_0', 4, 64))
  expect(() => source.matmul(tensor([1, 2, 3], [1, 3]))).toThrow(/packedProduct|reshape/)
})
