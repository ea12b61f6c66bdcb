import { describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { ones, scope, type Tensor, tensor, valueAndGrad } from '../tensor/index.ts'
import {
  type AffineValues,
  affineGrid,
  checkGrid,
  decodeValues,
  gridBits,
  gridName,
  gridSource,
  groupWidth,
  neighbourGroups,
  type Values,
} from './grid.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const values: AffineValues = {
  kind: 'grid',
  grid: affineGrid({ bits: 2, groupSize: 2 }),
  codes: tensor([0, 1, 2, 3, 2, 0], [2, 3], 'u8'),
  scales: tensor([0.5, 2, 1, 4], [2, 2]),
  zeros: tensor([1, 0, 3, 2], [2, 2], 'u8'),
  groupOf: Uint32Array.of(0, 0, 1),
}

test('a value is its scale times code less zero, with the groups of its column', () => {
  expect(numbers(decodeValues(values))).toEqual([-0.5, 0, 4, 0, -1, -8])
  expect(numbers(decodeValues({ ...values, groupOf: Uint32Array.of(1, 0, 1) }))).toEqual([0, 0, 4, 4, -1, -8])
})
test('a source multiplies and shows what its values decode to', () => {
  const source = gridSource(values)
  expect([source.shape, numbers(source.dense())]).toEqual([
    [2, 3],
    [-0.5, 0, 4, 0, -1, -8],
  ])
  expect(numbers(source.matmul(tensor([2, 1, 0.5], [1, 3]), tensor([10, 20])))).toEqual([11, 15])
})
test('a product keeps nothing of the expanded weight, and a decoded one nothing but its numbers', () => {
  scope(() => {
    const x = ones([1, 3])
    const { memory } = x.kernels
    const grown = (body: () => Tensor) => {
      const before = memory().live
      const { size } = body()
      return memory().live - before - 4 * size
    }
    const blocks: Values = {
      kind: 'blocks',
      type: 'Q8_0',
      shape: [2, 32],
      bytes: tensor(new Uint8Array(68), [2, 34], 'u8'),
    }
    expect(grown(() => gridSource(values).matmul(x))).toBe(0)
    expect(grown(() => gridSource(blocks).matmul(ones([1, 32])))).toBe(4 * 32)
    expect(grown(() => decodeValues(values))).toBe(0)
  })
})
test('training is given nothing to change, as no gradient reaches the scales', () => {
  scope(() => {
    const source = gridSource(values)
    const { gradients } = valueAndGrad(() => source.matmul(ones([1, 3])).sum(), { scales: values.scales })
    expect(numbers(gradients.scales)).toEqual([0, 0, 0, 0])
    expect(source.parameters().size).toBe(0)
  })
})
test('the gradient of the inputs comes through a product whose weight is freed', () => {
  scope(() => {
    const x = ones([1, 3])
    const { gradients } = valueAndGrad(() => gridSource(values).matmul(x).sum(), { x })
    expect(numbers(gradients.x)).toEqual([-0.5, -1, -4])
  })
})

describe('stored bits', () => {
  test('count codes, and a scale and a zero for every group, the last one shorter', () => {
    // 2 * 3 codes of 2 bits, 2 * 2 groups with 16 + 2.
    expect(gridSource(values).size()).toEqual({ informationBits: 84, storedBits: 84 })
    expect(gridBits(affineGrid({ bits: 4, groupSize: 64 }), [10, 128])).toBe(10 * 128 * 4 + 10 * 2 * 20)
    expect(gridBits(affineGrid({ bits: 4, groupSize: 'row', scaleType: 'f32' }), [10, 128])).toBe(
      10 * 128 * 4 + 10 * 36,
    )
  })
  test('sorted columns cost an index each', () => {
    expect(gridSource({ ...values, groupOf: Uint32Array.of(1, 0, 0) }).size().storedBits).toBe(84 + 3 * 32)
    expect(gridBits(affineGrid({ bits: 4, groupSize: 64 }), [10, 128], true)).toBe(5520 + 128 * 32)
  })
  test('of blocks are those of their bytes', () => {
    expect(gridBits({ kind: 'blocks', type: 'Q3_K' }, [2, 512])).toBe(2 * 2 * 110 * 8)
  })
})

test('groups are as wide as said, as the row, or as the row where that is narrower', () => {
  expect([
    groupWidth(affineGrid({ groupSize: 4 }), 10),
    groupWidth(affineGrid({ groupSize: 'row' }), 10),
    groupWidth(affineGrid(), 10),
  ]).toEqual([4, 10, 10])
  expect([...neighbourGroups(5, 2)]).toEqual([0, 0, 1, 1, 2])
})
test('names say what a reader wants to know', () => {
  expect([
    gridName(affineGrid()),
    gridName(affineGrid({ bits: 3, groupSize: 'row', symmetric: true })),
    gridName({ kind: 'blocks', type: 'Q3_K' }),
  ]).toEqual(['4 bits, groups of 64', '3 bits, one group a row, symmetric', 'Q3_K'])
})
test('grids that cannot be are refused with what is possible', () => {
  for (const wrong of [{ bits: 5 as never }, { groupSize: 0 }, { groupSize: 2.5 }, { groupSize: Number.NaN }])
    expect(() => checkGrid(affineGrid(wrong))).toThrow(OptionError)
  expect(() => checkGrid({ kind: 'blocks', type: 'Q9_K' as never })).toThrow(
    /Q9_K is no block type; possible are .*Q3_K/,
  )
  for (const fine of [affineGrid({ bits: 8, groupSize: 'row' }), { kind: 'blocks', type: 'IQ4_NL' } as const])
    expect(() => checkGrid(fine)).not.toThrow()
})
