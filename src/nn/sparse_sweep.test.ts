import { describe, expect, test } from 'vitest'
import { NumericalError } from '../tensor/errors.ts'
import { randomStream, type Tensor, tensor } from '../tensor/index.ts'
import { setThreads, threads } from '../tensor/native.ts'
import { affineGrid } from './grid.ts'
import { oracleSparseSweep } from './sparse_sweep.oracle.suite.ts'
import { type SparseChoice, type SparseSweepOptions, sparseSweep } from './sparse_sweep.ts'
import { dampedHessian, sweepFactor, syntheticLayer } from './synthetic_layer.suite.ts'
import { decodeMaskedGrid } from './values/masked_grid.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
// Rows of two tiles and a rest, columns of two slabs and a rest.
const layer = syntheticLayer({ seed: 3, rows: 37, columns: 48, tokens: 300 })
const factor = sweepFactor(dampedHessian(layer.gram, 0.01))
const given = randomStream(5, 'mask')
  .uniform([37 * 48], 'f64')
  .toArray()
const mask = Uint8Array.from(given as Float64Array, (x) => (x < 0.7 ? 1 : 0))
const slabs = (...zeros: number[]): SparseChoice => ({ kind: 'slabs', zeros: Uint32Array.from(zeros) })
const choices: [string, SparseChoice | undefined][] = [
  ['nothing', undefined],
  ['half of each slab', slabs(370, 370, 148)],
  ['other shares of slabs', slabs(0, 740, 1)],
  ['2:4', { kind: 'n:m', n: 2, m: 4 }],
  ['1:20', { kind: 'n:m', n: 1, m: 20 }],
]
const grids = [
  undefined,
  affineGrid({ bits: 3, groupSize: 'row', scaleType: 'f32' }),
  affineGrid({ bits: 4, groupSize: 14 }),
]

describe.each(choices)('%s', (name, choice) => {
  const fits = name !== '1:20'
  const columns = fits ? 48 : 40
  const own = fits ? layer : syntheticLayer({ seed: 3, rows: 37, columns, tokens: 300 })
  const ownFactor = fits ? factor : sweepFactor(dampedHessian(own.gram, 0.01))
  test.each([
    ['', undefined],
    [' behind a mask', mask.subarray(0, 37 * columns)],
  ])('the native sweep equals plain loops in every bit of f64%s', (_, before) => {
    for (const grid of grids)
      for (const used of [ownFactor, undefined]) {
        const expected = oracleSparseSweep(own.weight.toArray() as Float64Array, columns, {
          ...{ factor: used?.toArray() as Float64Array | undefined, mask: before, choice, slab: 20, grid },
        })
        for (const block of [20, 3]) {
          const found = sparseSweep(own.weight, { factor: used, mask: before, choice, slab: 20, block, grid })
          expect([...found.mask]).toEqual([...expected.mask])
          expect(numbers(found.dense)).toEqual([...expected.dense])
          expect(numbers(found.losses)).toEqual([...expected.losses])
        }
      }
  })
  test('pruned weights are 0, and codes decode to what the sweep decided', () => {
    for (const grid of grids) {
      const found = sparseSweep(own.weight.cast('f32'), {
        ...{ factor: ownFactor.cast('f32'), mask: mask.subarray(0, 37 * columns), choice, slab: 20, grid },
      })
      const dense = numbers(found.dense)
      expect(dense.filter((w, i) => w !== 0 && !found.mask[i])).toEqual([])
      if (found.values) expect(numbers(decodeMaskedGrid(found.values))).toEqual(dense)
    }
  })
})

test('any number of threads gives the same bytes', () => {
  const wide = syntheticLayer({ seed: 4, rows: 400, columns: 64, tokens: 200 })
  const options: SparseSweepOptions = {
    factor: sweepFactor(dampedHessian(wide.gram, 0.01)).cast('f32'),
    choice: slabs(6400, 6401),
    slab: 32,
    grid: affineGrid({ bits: 4, groupSize: 16 }),
  }
  const before = threads()
  const results = [1, 2, 5].map((count) => {
    setThreads(count)
    const { dense, mask, losses } = sparseSweep(wide.weight.cast('f32'), options)
    return [numbers(dense), [...mask], numbers(losses)]
  })
  setThreads(before)
  expect(results[1]).toEqual(results[0])
  expect(results[2]).toEqual(results[0])
})
test('of equal scores the first in row-major order go first, and with ties all of them', () => {
  const weight = tensor([1, -2, 1, 2, 1, 1, -1, 3], [2, 4], 'f64')
  const choose = (zeros: number, ties: boolean, before?: Uint8Array) => [
    ...sparseSweep(weight, { mask: before, choice: { kind: 'slabs', zeros: Uint32Array.of(zeros), ties } })
      .mask,
  ]
  expect(choose(3, false)).toEqual([0, 1, 0, 1, 0, 1, 1, 1])
  expect(choose(3, true)).toEqual([0, 1, 0, 1, 0, 0, 0, 1])
  expect(choose(0, true)).toEqual([1, 1, 1, 1, 1, 1, 1, 1])
  expect(choose(8, false)).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
  // Pruned before counts among those that are asked for, and stays where it is more.
  expect(choose(3, false, Uint8Array.of(1, 0, 1, 1, 1, 1, 1, 0))).toEqual([0, 0, 1, 1, 1, 1, 1, 0])
  expect(choose(1, false, Uint8Array.of(1, 0, 1, 1, 1, 1, 1, 0))).toEqual([1, 0, 1, 1, 1, 1, 1, 0])
})
test('scores keep their order where squares would be 0 or infinite', () => {
  const weight = tensor([3e-30, 1e-30, 2e30, 1e30], [1, 4])
  const { mask } = sparseSweep(weight, { choice: slabs(1) })
  expect([...mask]).toEqual([1, 0, 1, 1])
  expect([...sparseSweep(weight, { choice: slabs(3) }).mask]).toEqual([0, 0, 1, 0])
})
test.each(['f16', 'bf16', 'f32'] as const)('what lives is rounded to %s before its error goes on', (type) => {
  const { dense } = sparseSweep(layer.weight, { factor, mask, numbers: type })
  expect(numbers(dense.cast(type).cast('f64'))).toEqual(numbers(dense))
  const first = numbers(layer.weight.cast(type).cast('f64'))
  for (let row = 0; row < 37; row++)
    expect(numbers(dense)[row * 48]).toBe(mask[row * 48] ? first[row * 48] : 0)
})
test('another order sweeps the columns in it', () => {
  const order = randomStream(2, 'order').permutation(48).toArray() as Uint32Array
  const permuted = sweepFactor(dampedHessian(layer.gram, 0.01), order)
  const found = sparseSweep(layer.weight, { factor: permuted, order, mask })
  const at = (row: number, position: number) => row * 48 + order[position]!
  const weights = numbers(layer.weight)
  const [weight, own] = [new Float64Array(37 * 48), new Uint8Array(37 * 48)]
  for (let row = 0; row < 37; row++)
    for (let i = 0; i < 48; i++) {
      weight[row * 48 + i] = weights[at(row, i)]!
      own[row * 48 + i] = mask[at(row, i)]!
    }
  const expected = oracleSparseSweep(weight, 48, { factor: permuted.toArray() as Float64Array, mask: own })
  const dense = numbers(found.dense)
  for (let row = 0; row < 37; row++)
    for (let i = 0; i < 48; i++) expect(dense[at(row, i)]).toBe(expected.dense[row * 48 + i])
})
test('weights that are not finite, and those that the numbers cannot hold, are refused', () => {
  const broken = tensor([0, Number.NaN], [1, 2])
  expect(() => sparseSweep(broken, {})).toThrow(NumericalError)
  expect(() => sparseSweep(tensor([1, 1e6], [1, 2]), { numbers: 'f16' })).toThrow(/row 0, column 1 .* range/)
})
test('slabs and groups that do not fit are refused', () => {
  expect(() => sparseSweep(layer.weight, { choice: slabs(1), slab: 20 })).toThrow(/how many/)
  expect(() => sparseSweep(layer.weight, { choice: slabs(1e6, 0, 0), slab: 20 })).toThrow(/how many/)
  expect(() => sparseSweep(layer.weight, { choice: { kind: 'n:m', n: 2, m: 5 } })).toThrow(
    /2:5 .* whole groups/,
  )
})
