import { expect, test } from 'vitest'
import { OptionError } from '../../tensor/errors.ts'
import { scope } from '../../tensor/index.ts'
import { followedLlama } from '../followed.suite.ts'
import { numbers } from './fixtures.suite.ts'
import { freshWeights } from './fresh_weights.ts'

const norm = (values: number[]) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0))

test('a weight depends on its name and the seed alone', () => {
  scope(() => {
    const up = (seed: number, vocabulary: number) =>
      numbers(
        freshWeights({ ...followedLlama, vocabulary, tied: false }, { seed }).get(
          'model.layers.0.mlp.up_proj.weight',
        )!,
      )
    expect(up(5, 8)).toEqual(up(5, 9))
    expect(up(5, 8)).not.toEqual(up(6, 8))
  })
})
test('deviations are 0.02, by sqrt(2 layers) smaller where a branch ends; norms are 1 and biases 0', () => {
  scope(() => {
    const weights = freshWeights({ ...followedLlama, attentionBias: true, tied: false }, { seed: 2 })
    const deviationOf = (name: string) => norm(numbers(weights.get(name)!)) / weights.get(name)!.size ** 0.5
    const plain = ['model.embed_tokens.weight', 'lm_head.weight', 'model.layers.1.mlp.gate_proj.weight']
    const ends = ['model.layers.0.self_attn.o_proj.weight', 'model.layers.1.mlp.down_proj.weight']
    // Six standard errors of the deviation of 4,096 numbers.
    const tolerance = 6 / Math.sqrt(2 * 4096)
    for (const name of plain) expect(Math.abs(deviationOf(name) / 0.02 - 1)).toBeLessThan(tolerance)
    for (const name of ends) expect(Math.abs(deviationOf(name) / 0.01 - 1)).toBeLessThan(tolerance)
    expect(new Set(numbers(weights.get('model.norm.weight')!))).toEqual(new Set([1]))
    expect(new Set(numbers(weights.get('model.layers.0.self_attn.k_proj.bias')!))).toEqual(new Set([0]))
  })
})
test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('a deviation of %s is refused', (deviation) => {
  expect(() => freshWeights(followedLlama, { seed: 1, deviation })).toThrow(OptionError)
})
