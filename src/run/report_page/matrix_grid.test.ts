import { expect, test } from 'vitest'
import type { LayerReport } from '../report.ts'
import { matrixGrid, median, outliers } from './matrix_grid.ts'

const layer = (name: string, relativeError = 0.01): LayerReport => ({
  name,
  bits: 3,
  relativeError,
  relativeErrorRtn: relativeError,
  notes: [],
})
const names = (layers: readonly LayerReport[]) => layers.map(({ name }) => name)

test('names of Hugging Face and of GGUF have a stage and a kind; what fits no grid is listed', () => {
  const grid = matrixGrid(
    [
      'model.layers.10.self_attn.q_proj.weight',
      'model.layers.2.self_attn.q_proj.weight',
      'model.layers.2.mlp.up_proj.weight',
      'blk.2.attn_q.weight',
      'lm_head.weight',
      'model.layers.2.mlp.experts.7.up_proj.weight',
      'model.layers.2.self_attn.q_proj.bias',
      'model.layers.2.<b>.weight',
      'model.layers.99999999.self_attn.q_proj.weight',
    ].map((name) => layer(name)),
  )
  expect(grid.stages).toEqual([2, 10])
  expect(grid.kinds).toEqual(['self_attn.q_proj', 'mlp.up_proj', 'attn_q'])
  expect(grid.at(10, 'self_attn.q_proj')?.layer.name).toBe('model.layers.10.self_attn.q_proj.weight')
  expect(grid.at(10, 'attn_q')).toBeUndefined()
  expect(names(grid.rest)).toEqual([
    'lm_head.weight',
    'model.layers.2.mlp.experts.7.up_proj.weight',
    'model.layers.2.self_attn.q_proj.bias',
    'model.layers.2.<b>.weight',
    'model.layers.99999999.self_attn.q_proj.weight',
  ])
})
test('kinds stand as in the stage that has most of them, also where the first stage lacks one', () => {
  const grid = matrixGrid(
    ['blk.0.a', 'blk.0.c', 'blk.1.a', 'blk.1.b', 'blk.1.c', 'blk.2.d'].map((name) => layer(`${name}.weight`)),
  )
  expect(grid.kinds).toEqual(['a', 'b', 'c', 'd'])
})
test('a place holds one matrix, and a grid has a largest size; the rest is listed', () => {
  const twice = matrixGrid([layer('blk.0.a.weight', 1), layer('blk.0.a.weight', 2)])
  expect([twice.cells.length, twice.rest[0]?.relativeError]).toEqual([1, 2])
  const many = matrixGrid(Array.from({ length: 1000 }, (_, i) => layer(`blk.${i}.a.weight`)))
  expect([many.stages.length, many.rest.length]).toEqual([256, 744])
  const kinds = matrixGrid(
    Array.from({ length: 40 }, (_, i) => layer(`blk.0.${'abcdefgh'[i % 8]}_${i}.weight`)),
  )
  expect([kinds.kinds.length, kinds.rest.length]).toEqual([16, 24])
})
test('an outlier is more than 3 median deviations of the logarithm from the median of its kind', () => {
  // Logarithms to base 2: medians 0, deviations 1 1 0 1 1 and those of the last two.
  const errors = [2, 0.5, 1, 2, 0.5, 2 ** 3.1, 2 ** -3.1]
  const layers = errors.map((error, i) => layer(`blk.${i}.a.weight`, error))
  // Another kind with other usual errors, and nothing unusual.
  const others = [64, 128, 256, 128, 64].map((error, i) => layer(`blk.${i}.b.weight`, error))
  const found = outliers(matrixGrid([...layers, ...others]), ({ relativeError }) => relativeError)
  expect([...found].map(([{ name }, side]) => [name, side])).toEqual([
    ['blk.5.a.weight', 'worse'],
    ['blk.6.a.weight', 'better'],
  ])
  const near = layers.map((each, i) => ({ ...each, relativeError: i === 5 ? 8 : each.relativeError }))
  expect(outliers(matrixGrid(near), ({ relativeError }) => relativeError).size).toBe(1)
})
test('errors of 0 take no part, and fewer than five matrices say nothing', () => {
  const errors = [1, 1, 1, 1, 0, 100]
  const found = outliers(
    matrixGrid(errors.map((error, i) => layer(`blk.${i}.a.weight`, error))),
    ({ relativeError }) => relativeError,
  )
  expect(names([...found.keys()])).toEqual(['blk.5.a.weight'])
  const few = [1, 1, 1, 100].map((error, i) => layer(`blk.${i}.a.weight`, error))
  expect(outliers(matrixGrid(few), ({ relativeError }) => relativeError).size).toBe(0)
})
test('the median of an even number is the mean of the two in the middle', () => {
  expect([median([3, 1, 2]), median([4, 1, 3, 2])]).toEqual([2, 2.5])
})
