import { expect, test } from 'vitest'
import { decodeLevel, keptOf } from '../calibrate/levels.ts'
import type { LayerMethod } from '../calibrate/method.ts'
import { affineGrid } from '../nn/grid.ts'
import { outputError, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { denseSource } from '../nn/weight_source.ts'
import { OptionError } from '../tensor/errors.ts'
import { type Tensor, tensor } from '../tensor/index.ts'
import { obq } from './obq.ts'
import { obqLevels } from './obq_levels.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const { weight, gram } = syntheticLayer({ seed: 1, rows: 12, columns: 32, tokens: 500 })
const dense = weight.cast('f32')
const task = { name: 'w', dense, current: dense, statistics: { gram, rows: 500 } }
const mask = Uint8Array.from({ length: 384 }, (_, i) => Number(i % 4 < 2))
const halving: LayerMethod = {
  name: 'first two of four',
  needs: [],
  compress({ current }) {
    const decoded = tensor(
      Float32Array.from(numbers(current), (x, i) => (mask[i] ? x : 0)),
      [12, 32],
    )
    return { source: denseSource(decoded), decoded, mask, diagnostics: { notes: [] } }
  },
}
const pruners = [{ name: '2:4', method: halving, pattern: { n: 2, m: 4 } }]

test('8 and 4 bits come with and without a pruner, each as the method alone gives it', () => {
  const found = [...obqLevels({ pruners }).levels(task)]
  expect(found.map(({ level }) => level)).toEqual(['8 bits', '4 bits', '8 bits, 2:4', '4 bits, 2:4'])
  expect(found.map(({ values }) => keptOf(values))).toEqual([384, 384, 192, 192])
  expect(found.map(({ pattern }) => pattern)).toEqual([undefined, undefined, { n: 2, m: 4 }, { n: 2, m: 4 }])
  const current = halving.compress(task).decoded!
  for (const [i, { values, error }] of found.entries()) {
    const grid = affineGrid({ bits: i % 2 === 0 ? 8 : 4, groupSize: 'row' })
    const alone = obq().compress(i < 2 ? { ...task, grid } : { ...task, current, mask, grid })
    expect(numbers(decodeLevel(values))).toEqual(numbers(alone.decoded!))
    const energy = outputError(weight, weight.mul(0), gram)
    expect(error).toBeCloseTo(outputError(dense, alone.decoded!, gram) / energy, 6)
  }
  const [eight, four] = found.map(({ error }) => error)
  expect(eight!).toBeLessThan(four!)
})
test('grids that give two levels one name, none, and impossible ones are refused', () => {
  const grid = affineGrid({ bits: 4, groupSize: 'row' })
  for (const grids of [[], [grid, grid], [affineGrid({ bits: 5 as 4 })]])
    expect(() => obqLevels({ grids })).toThrow(OptionError)
})
