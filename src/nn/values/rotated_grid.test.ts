import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  randomStream,
  scope,
  setThreads,
  type Tensor,
  tensor,
  threads,
  valueAndGrad,
} from '../../tensor/index.ts'
import { turn } from './random_orthogonal.ts'
import {
  decodeRotatedGrid,
  type RotatedGridValues,
  rotationsOf,
  turnBoth,
  turnBothBack,
} from './rotated_grid.ts'
import { bitsOfStored, storedSource } from './values.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const largest = (x: Tensor) => x.abs().max().item()
const values = (rows: number, columns: number, { bits = 2, seed = 3 } = {}): RotatedGridValues => {
  const stream = randomStream(seed, 'rotated grid test')
  const codes = stream
    .uniform([rows, columns])
    .mul(2 ** bits)
    .floor()
  return {
    ...{ kind: 'rotated_grid', bits, seed, scale: 0.75 },
    codes: codes.cast('u8'),
    columnScales: stream.uniform([columns]).add(0.5).cast('f16').cast('f32'),
  }
}
/** U or V as a matrix. */
const matrixOf = (side: 'left' | 'right', seed: number, shape: [number, number]) => {
  const q = rotationsOf(seed, shape)[side]
  const identity = Float64Array.from({ length: q.size ** 2 }, (_, i) => Number(i % (q.size + 1) === 0))
  return turn(q, tensor(identity, [q.size, q.size], 'f64')).transpose()
}

test.each([
  [1, 1],
  [1, 7],
  [12, 1],
  [13, 30],
  [48, 257],
])('%i x %i: it is U^T G V diag(u), with G from -scale to scale', (rows, columns) => {
  const stored = values(rows, columns, { bits: 3 })
  const codes = numbers(stored.codes)
  const grid = tensor(
    Float64Array.from(codes, (code) => -0.75 + (1.5 * code) / 7),
    [rows, columns],
    'f64',
  )
  const [u, v] = [matrixOf('left', 3, [rows, columns]), matrixOf('right', 3, [rows, columns])]
  const expected = u.transpose().matmul(grid).matmul(v).mul(stored.columnScales.cast('f64'))
  expect(largest(decodeRotatedGrid(stored).cast('f64').sub(expected))).toBeLessThan(1e-6)
})
test('a turn of both sides undone leaves a matrix of any shape as it was', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 80 }),
      fc.integer({ min: 1, max: 80 }),
      fc.nat(),
      (rows, columns, seed) =>
        scope(() => {
          const rotations = rotationsOf(seed, [rows, columns])
          const x = randomStream(seed, 'x').normal([rows, columns], 'f64')
          expect(largest(turnBothBack(rotations, turnBoth(rotations, x)).sub(x))).toBeLessThan(1e-12)
        }),
    ),
    { numRuns: 40 },
  )
})
test('products without the expanded weight are those with it, for inputs of any rank, with and without a bias', () => {
  const stored = values(48, 257)
  const source = storedSource(stored)
  const stream = randomStream(0, 'x')
  const bias = stream.normal([48])
  for (const shape of [[257], [1, 257], [3, 5, 257]]) {
    const x = stream.normal(shape)
    const flat = x.reshape([x.size / 257, 257])
    const expected = flat.matmul(source.dense().transpose()).add(bias)
    const found = source.matmul(x, bias)
    expect(found.shape).toEqual([...shape.slice(0, -1), 48])
    expect(largest(found.reshape(expected.shape).sub(expected))).toBeLessThan(2e-5)
    expect(largest(source.matmul(x).add(bias).sub(found))).toBeLessThan(1e-6)
  }
})
test('gradients go through the product to its inputs', () => {
  const source = storedSource(values(6, 20))
  const x = randomStream(0, 'x').normal([3, 20])
  const { gradients } = valueAndGrad((given) => source.matmul(given.x).sum(), { x })
  const sums = source.dense().sum(0)
  expect(largest(gradients.x.sub(sums))).toBeLessThan(1e-5)
})
test('numbers are the same for every number of threads', () => {
  const before = threads()
  const runs = [1, 3].map((count) => {
    setThreads(count)
    const source = storedSource(values(96, 320))
    return [numbers(source.dense()), numbers(source.matmul(randomStream(1, 'x').normal([9, 320])))]
  })
  setThreads(before)
  expect(runs[1]).toEqual(runs[0])
})
test('bits are those of the codes, a scale, a seed, and a half a column', () => {
  expect(bitsOfStored(values(48, 257))).toBe(48 * 257 * 2 + 32 + 32 + 16 * 257)
})
test('another seed gives another matrix', () => {
  const stored = values(8, 8)
  expect(numbers(decodeRotatedGrid(stored))).not.toEqual(numbers(decodeRotatedGrid({ ...stored, seed: 4 })))
})
