import { expect, test } from 'vitest'
import { decodeLevel, keptOf } from '../calibrate/levels.ts'
import { outputError, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { OptionError } from '../tensor/errors.ts'
import { type Tensor, tensor } from '../tensor/index.ts'
import { exactObs } from './exact_obs.ts'
import { obsLevels, sparsityLevels, sparsityName } from './obs_levels.ts'
import { columnBlocks } from './obs_pattern.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const { weight, gram } = syntheticLayer({ seed: 1, rows: 12, columns: 30, tokens: 500 })
const dense = weight.cast('f32')
const task = { name: 'w', dense, current: dense, statistics: { gram, rows: 500 } }

test('a level is what a run to its sparsity alone gives, and has the error of its outputs', () => {
  for (const options of [{}, { pattern: columnBlocks(), selection: 'row' }, { selection: 'sort' }] as const) {
    const sparsities = [0, 0.3, 0.9, 1]
    const found = [...obsLevels({ ...options, sparsities }).levels(task)]
    expect(found.map(({ level }) => level)).toEqual(sparsities.map(sparsityName))
    for (const [i, { values, error }] of found.entries()) {
      const alone = exactObs({ ...options, sparsity: sparsities[i]!, numbers: 'f32' }).compress(task)
      expect(numbers(decodeLevel(values))).toEqual(numbers(alone.decoded!))
      expect(keptOf(values)).toBe(alone.mask!.filter((bit) => bit === 1).length)
      const energy = outputError(weight, weight.mul(0), gram)
      expect(error).toBeCloseTo(outputError(dense, alone.decoded!, gram) / energy, 6)
    }
    expect(found[0]!.error).toBe(0)
    expect(found[3]!.error).toBeCloseTo(1, 9)
  }
})
test('errors rise with the sparsity, up to 0.99 of single weights and 0.95 of blocks', () => {
  for (const [pattern, most] of [
    [undefined, 0.99],
    [columnBlocks(), 0.95],
  ] as const) {
    const found = [...obsLevels(pattern ? { pattern } : {}).levels(task)]
    expect(found.map(({ level }) => level)).toEqual(sparsityLevels(most).map(sparsityName))
    for (let i = 1; i < found.length; i++) expect(found[i]!.error).toBeGreaterThanOrEqual(found[i - 1]!.error)
  }
  expect(sparsityLevels()).toHaveLength(44)
  expect(sparsityLevels().at(-1)!).toBeCloseTo(1 - 0.9 ** 43, 12)
})
test('halves are stored as halves, and weights that were pruned before stay 0', () => {
  const mask = Uint8Array.from({ length: 360 }, (_, i) => Number(i % 4 > 0))
  const current = tensor(
    Float32Array.from(numbers(dense), (x, i) => (mask[i] ? x : 0)),
    [12, 30],
  )
  const levels = obsLevels({ sparsities: [0, 0.5], numbers: 'f16' }).levels({ ...task, current, mask })
  for (const { values } of levels) {
    expect(values.kind === 'numbers' && values.kept.dtype).toBe('f16')
    for (const [i, x] of numbers(decodeLevel(values)).entries()) if (!mask[i]) expect(x).toBe(0)
  }
})
test('sparsities that do not rise, and n:m, are refused', () => {
  for (const sparsities of [[], [0.5, 0.5], [0.5, 0.2], [-1], [1.5], [Number.NaN]])
    expect(() => obsLevels({ sparsities })).toThrow(OptionError)
  expect(() => obsLevels({ pattern: { kind: 'n:m', n: 2, m: 4 } })).toThrow(/take exactObs/)
})
