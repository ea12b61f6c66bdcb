import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { randomStream, scope, type Tensor, tensor } from '../../tensor/index.ts'
import {
  decodeSparseWeight,
  type SparseWeight,
  sparseRowsOf,
  sparseWeight,
  sparseWords,
} from './sparse_product.ts'
import { decodeSparseRows, type SparseRowValues } from './sparse_rows.ts'
import { storedProduct } from './stored_words.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const sparseProduct = (weight: SparseWeight, x: Tensor): Tensor =>
  storedProduct(sparseWords(weight), weight.shape[0], x)

/** Rows of any number of entries, in any order, some at one place. */
const entries = fc
  .record({ width: fc.integer({ min: 1, max: 300 }), seed: fc.nat() })
  .chain(({ width, seed }) =>
    fc.record({
      width: fc.constant(width),
      seed: fc.constant(seed),
      rows: fc.array(fc.array(fc.integer({ min: 0, max: width - 1 }), { maxLength: 40 }), {
        minLength: 1,
        maxLength: 30,
      }),
      inputs: fc.constantFrom(1, 2, 4, 5, 16, 33),
    }),
  )

function valuesOf(rows: readonly number[][], width: number, seed: number): SparseRowValues {
  const columns = Uint32Array.from(rows.flat())
  const rowOffsets = new Uint32Array(rows.length + 1)
  for (const [row, own] of rows.entries()) rowOffsets[row + 1] = rowOffsets[row]! + own.length
  const values = scope(() => randomStream(seed, 'values').normal([columns.length]).toArray() as Float32Array)
  // The smallest numbers of f32 count as others do.
  if (values.length > 0) values[0] = 2 ** -140
  return { kind: 'sparse_rows', shape: [rows.length, width], rowOffsets, columns, values, valueType: 'f32' }
}

test('products are those with the dense matrix, and entries come back', () => {
  fc.assert(
    fc.property(entries, ({ rows, width, seed, inputs }) =>
      scope(() => {
        const values = valuesOf(rows, width, seed)
        const weight = sparseWeight(values)
        const dense = decodeSparseRows(values)
        expect(numbers(decodeSparseWeight(weight))).toEqual(numbers(dense))
        const x = randomStream(seed, 'x').normal([inputs, width])
        const magnitudes = decodeSparseRows({ ...values, values: values.values.map(Math.abs) })
        const wanted = x.cast('f64').matmul(dense.cast('f64').transpose())
        const bound = x.abs().cast('f64').matmul(magnitudes.cast('f64').transpose())
        const found = sparseProduct(weight, x)
        // Products below the smallest number of f32 are lost.
        const over = found
          .cast('f64')
          .sub(wanted)
          .abs()
          .sub(bound.mul(4e-6))
          .sub(41 * 2 ** -149)
        expect(over.max().item()).toBeLessThanOrEqual(0)
        expect(numbers(sparseProduct(weight, x.slice(0, 0, 1)))).toEqual(numbers(found.slice(0, 0, 1)))
      }),
    ),
    { numRuns: 60 },
  )
})
test('columns above 65,536 keep all of their bits', () => {
  scope(() => {
    const values = valuesOf([[69_999, 3], [65_536]], 70_000, 1)
    values.values.set([2, 3, 5])
    const x = tensor(
      Float32Array.from({ length: 70_000 }, (_, i) => i % 7),
      [1, 70_000],
    )
    expect(numbers(sparseProduct(sparseWeight(values), x))).toEqual([2 * (69_999 % 7) + 9, 5 * (65_536 % 7)])
  })
})
test('a dense matrix becomes its entries other than 0', () => {
  const { rowOffsets, columns, values } = sparseRowsOf(tensor([0, 2, 0, 0, 0, 0, -1, 0, 4], [3, 3]))
  expect([...rowOffsets]).toEqual([0, 1, 1, 3])
  expect([...columns]).toEqual([1, 0, 2])
  expect([...values]).toEqual([2, -1, 4])
})
test('damaged rows are refused before anything is multiplied', () => {
  const values = valuesOf([[0, 1], [2]], 3, 1)
  expect(() => sparseWeight({ ...values, columns: Uint32Array.of(0, 1, 3) })).toThrow(FormatError)
  expect(() => sparseWeight({ ...values, rowOffsets: Uint32Array.of(0, 4, 3) })).toThrow(FormatError)
})
