import { describe, expect, test } from 'vitest'
import { editedModel } from '../models/edited_model.ts'
import { distance, type FixtureName, numbers, openFixture } from '../models/llama/fixtures.suite.ts'
import { Llama } from '../models/llama/llama.ts'
import { blockName, headName } from '../models/llama/names.ts'
import { openCompressible } from '../models/load_model.ts'
import { memoryWeights } from '../models/memory_weights.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { OptionError } from '../tensor/errors.ts'
import { randomStream, scope } from '../tensor/index.ts'
import { type HadamardRotationOptions, rotatedNames, rotationEdits } from './hadamard_rotation.ts'

const ids = Uint32Array.of(1, 5, 9, 2, 7, 3, 11, 4)
const logitsOf = ({ model }: OpenLanguageModel) => scope(() => numbers(model.load().forward(ids)))

/** The model with norms that are not alike, biases at every o, and one large channel, in f64. */
function inMemory(open: OpenLanguageModel): OpenLanguageModel {
  const { config } = open.model
  const tensors = new Map(
    [...open.weights.infos.keys()].map((name) => [name, open.weights.load(name).cast('f64')]),
  )
  config.layers.forEach((_, block) => {
    const random = randomStream(block, 'norms')
    for (const part of ['input_layernorm', 'post_attention_layernorm'] as const)
      tensors.set(blockName(block, part), random.normal([config.hidden], 'f64').add(1.5))
    tensors.set(blockName(block, 'self_attn.o_proj', 'bias'), random.normal([config.hidden], 'f64'))
  })
  const weights = memoryWeights(tensors)
  return { ...open, weights, model: new Llama(config, weights) }
}

const models: FixtureName[] = ['llama-tied', 'llama-untied', 'llama-head-size', 'mistral', 'qwen2', 'smollm']
const options: HadamardRotationOptions[] = [{}, { rotateHeads: true, seed: 7 }]

describe.each(models)('of %s', (name) => {
  test.each(options)('a rotation leaves the logits as they are: f32, %j', (own) => {
    const open = openFixture(name)
    const rotated = editedModel(open, rotationEdits(open, own))
    expect(distance(logitsOf(rotated), logitsOf(open))).toBeLessThan(1e-5)
    open.close()
  })
  test.each(options)('and so in f64, with biases at every o and norms of all sizes: %j', (own) =>
    scope(() => {
      const open = openFixture(name)
      const wide = inMemory(open)
      const rotated = editedModel(wide, rotationEdits(wide, own))
      expect(distance(logitsOf(rotated), logitsOf(wide))).toBeLessThan(1e-12)
      open.close()
    }),
  )
  test('the weights are others: norms are ones, and the head is a tensor of its own', () =>
    scope(() => {
      const open = openFixture(name)
      const edits = rotationEdits(open, { rotateHeads: true })
      const rotated = editedModel(open, edits)
      expect(rotated.model.config.tied).toBe(false)
      expect(rotated.weights.infos.has(headName)).toBe(true)
      expect(rotated.weights.infos.size).toBe(open.weights.infos.size + (open.model.config.tied ? 1 : 0))
      expect(numbers(rotated.weights.load('model.norm.weight')).every((value) => value === 1)).toBe(true)
      for (const weight of rotated.model.stages.flatMap(({ weights }) => weights)) {
        expect(edits.has(weight)).toBe(true)
        expect(
          distance(numbers(rotated.weights.load(weight)), numbers(open.weights.load(weight))),
        ).toBeGreaterThan(0.1)
      }
      open.close()
    }))
})

test('key heads that query heads share are rotated for all of them', () => {
  const open = openFixture('llama-head-size')
  expect(open.model.config.layers.some(({ heads, kvHeads }) => heads > kvHeads)).toBe(true)
  open.close()
})

test('the names are those that have edits, known without reading a weight', () => {
  const open = openFixture('qwen2')
  const unread = () => {
    throw new Error('read')
  }
  const closed = { ...open, weights: { ...open.weights, load: unread } }
  for (const own of options) expect(rotatedNames(closed, own)).toEqual([...rotationEdits(open, own).keys()])
  open.close()
})

test('rows and slices are those of the whole', () =>
  scope(() => {
    const open = openFixture('llama-tied')
    const { weights } = editedModel(open, rotationEdits(open))
    for (const name of [headName, 'model.embed_tokens.weight', 'model.layers.0.mlp.down_proj.weight']) {
      const whole = numbers(weights.load(name))
      const columns = weights.infos.get(name)!.shape[1]!
      expect(numbers(weights.slice(name, 1, 3))).toEqual(whole.slice(columns, 3 * columns))
      expect(numbers(weights.rows(name, Uint32Array.of(2, 0)))).toEqual([
        ...whole.slice(2 * columns, 3 * columns),
        ...whole.slice(0, columns),
      ])
    }
    open.close()
  }))

test('a text encoder is refused with the reason', () => {
  const open = openCompressible(new URL('../../interop/fixtures/bert-sentence', import.meta.url).pathname)
  expect(() => rotationEdits(open)).toThrow(OptionError)
  expect(() => rotationEdits(open)).toThrow(/norms behind the blocks/)
  open.close()
})
