import { expect, test } from 'vitest'
import { gradientCheck, inputsOf } from '../tensor/autodiff/gradient_check.suite.ts'
import { exactTensor, onNative, valuesOf } from '../tensor/contract/claims.suite.ts'
import { type Tensor, tensor, valueAndGrad } from '../tensor/index.ts'
import { Embedding } from './embedding.ts'
import { affineGrid, decodeValues, gridSource } from './grid.ts'
import { maskedSource } from './masked_source.ts'
import { denseSource, type WeightSource } from './weight_source.ts'

const ids = () => tensor([3, 0, 3, 1, 4, 3], [2, 3], 'u32')
const forward = (source: WeightSource) => new Embedding('table', source).forward(ids())
const rowsOf = (table: readonly number[], width: number) =>
  [3, 0, 3, 1, 4, 3].flatMap((id) => table.slice(id * width, (id + 1) * width))

test('rows are those of the table, whatever it is made of', () => {
  onNative(() => {
    const table = exactTensor([5, 3])
    const mask = () => tensor([1, 0, 1, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1], [5, 3], 'bool')
    const values = {
      kind: 'grid' as const,
      grid: affineGrid({ bits: 4, groupSize: 'row', symmetric: false }),
      codes: tensor([0, 3, 15, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [5, 3], 'u8'),
      scales: tensor([1, 0.5, 0.25, 2, 1], [5, 1]),
      zeros: tensor([8, 7, 0, 1, 3], [5, 1], 'u8'),
      groupOf: Uint32Array.of(0, 0, 0),
    }
    for (const [source, whole] of [
      [denseSource(table), table],
      [maskedSource(denseSource(table), mask), mask().where(table, 0)],
      [gridSource(values), decodeValues(values)],
    ] as const) {
      const found = forward(source)
      expect(found.shape).toEqual([2, 3, 3])
      expect(valuesOf(found)).toEqual(rowsOf(valuesOf(whole), 3))
    }
    expect(() => forward(denseSource(table.slice(0, 0, 4)))).toThrow(/4/)
  })
})
test('gradients of a row that stands there often are added, and end at a mask', () => {
  onNative(() => {
    gradientCheck((table) => forward(denseSource(table!)), inputsOf([5, 3]))
    const mask = () => tensor([1, 0, 1, 1, 0, 1, 1, 1, 1, 0], [5, 2], 'bool')
    gradientCheck((table) => forward(maskedSource(denseSource(table!), mask)), inputsOf([5, 2]))
    const table = exactTensor([5, 2])
    const gradientOf = (straightThrough: boolean): Tensor =>
      valueAndGrad(
        ({ table }) => forward(maskedSource(denseSource(table), mask, { straightThrough })).sum(),
        { table },
      ).gradients.table
    expect(valuesOf(gradientOf(true))).toEqual([1, 1, 1, 1, 0, 0, 3, 3, 1, 1])
    expect(valuesOf(gradientOf(false))).toEqual([1, 0, 1, 1, 0, 0, 3, 3, 1, 0])
  })
})
