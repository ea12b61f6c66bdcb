import { expect, test } from 'vitest'
import { numbers } from '../models/llama/fixtures.suite.ts'
import { columnSweep } from '../nn/column_sweep.ts'
import { affineGrid, type Grid } from '../nn/grid.ts'
import { currentKernels, randomStream, scope, type Tensor } from '../tensor/index.ts'
import { type CompressOptions, resolveOptions } from './compress_options.ts'
import { stepsAsMethod, stepsByName } from './step_sequence.ts'

const steps = (options: Partial<CompressOptions>) =>
  resolveOptions({ source: 'm', output: 'o', ...options }).steps
const rounded = (x: Tensor, grid: Grid): Tensor => columnSweep(x, { grid }).dense!
const names = ['a.first', 'a.second', 'b.first']

test('a weight belongs to the steps whose patterns match it, and to those without patterns', () => {
  const byName = stepsByName(
    steps({ steps: [{ method: 'rtn' }, { only: ['a'] }, { only: ['**.first', 're:second'] }] }),
    names,
  )
  expect([...byName.entries()]).toEqual([
    ['a.first', [0, 1, 2]],
    ['a.second', [0, 1, 2]],
    ['b.first', [0, 2]],
  ])
})
test('each step sees what the one before made; the last one rounds to the grid of the task', () => {
  const method = stepsAsMethod(
    steps({
      steps: [
        { method: 'rtn', bits: 2, groupSize: 8 },
        { method: 'rtn', bits: 4 },
      ],
    }),
    ['w'],
  )
  const grid = affineGrid({ bits: 3, groupSize: 4 })
  scope(() => {
    const dense = randomStream(1, 'w').normal([4, 16])
    const { decoded, source } = method.compress({
      name: 'w',
      dense,
      current: dense,
      statistics: { rows: 0 },
      grid,
    })
    const expected = rounded(rounded(dense, affineGrid({ bits: 2, groupSize: 8 })), grid)
    expect(numbers(decoded!)).toEqual(numbers(expected))
    expect(numbers(source.dense())).toEqual(numbers(expected))
    // 3 bits alone give another result.
    expect(numbers(decoded!)).not.toEqual(numbers(rounded(dense, grid)))
  })
})
test('a step between whose block type does not fit the row takes the stand-in, or leaves the weight as it is', () => {
  const twice = stepsAsMethod(
    steps({
      target: 'gguf',
      steps: [
        { method: 'rtn', scheme: 'Q2_K' },
        { method: 'rtn', scheme: 'Q8_0' },
      ],
    }),
    ['w'],
  )
  const grid: Grid = { kind: 'blocks', type: 'Q8_0' }
  for (const [columns, between] of [
    [256, 'Q2_K'],
    [64, 'IQ4_NL'],
  ] as const) {
    scope(() => {
      const dense = randomStream(2, 'w').normal([2, columns])
      const { decoded } = twice.compress({ name: 'w', dense, current: dense, statistics: { rows: 0 }, grid })
      expect(numbers(decoded!)).toEqual(
        numbers(rounded(rounded(dense, { kind: 'blocks', type: between }), grid)),
      )
    })
  }
})
test('what is needed is what the steps need that take a weight', () => {
  const mixed = steps({ steps: [{ method: 'rtn' }, { method: 'gptq', only: ['b'] }] })
  expect(stepsAsMethod(mixed, names).needs).toEqual(['gram'])
  expect(stepsAsMethod(mixed, ['a.first']).needs).toEqual([])
  expect(stepsAsMethod(mixed, names).name).toBe('rtn+gptq')
})
test('nothing of a step between is left in memory', () => {
  const method = stepsAsMethod(steps({ steps: [{ method: 'rtn' }, { method: 'rtn' }, { method: 'rtn' }] }), [
    'w',
  ])
  const before = currentKernels().memory().tensors
  scope(() => {
    const dense = randomStream(1, 'w').normal([4, 64])
    method.compress({ name: 'w', dense, current: dense, statistics: { rows: 0 }, grid: affineGrid() })
  })
  expect(currentKernels().memory().tensors).toBe(before)
})
