import { describe, expect, test } from 'vitest'
import { sitesOf } from '../../nn/sites.ts'
import { FormatError } from '../../tensor/errors.ts'
import { explicitPaths, tensor } from '../../tensor/index.ts'
import { distance, numbers } from '../llama/fixtures.suite.ts'
import type { ModelWeights, WeightInfo } from '../model_weights.ts'
import { padded } from '../padded_batches.ts'
import { runStage } from '../stage.ts'
import { Bert } from './bert.ts'
import { configFromHuggingFace } from './config.ts'
import { encoders, expectedOf, withEncoder } from './fixtures.suite.ts'

/** f32 sums of up to 40 products in two layers; values are near 1. */
const rounding = 1e-5

describe.each(encoders)('%s', (name) => {
  const { ids, hidden, width } = expectedOf(name)

  test('the states of each text are those of the float64 oracle', () => {
    withEncoder(name, (resident) => {
      for (const [i, each] of ids.entries()) {
        const found = resident.forward(padded([each], 0))
        expect(found.shape).toEqual([1, each.length, width])
        expect(distance(numbers(found), hidden[i]!)).toBeLessThan(rounding)
      }
    })
  })
  test('in one batch each text has the states that it has alone, whatever fills it up', () => {
    withEncoder(name, (resident) => {
      for (const padId of [0, 7]) {
        const batch = padded(ids, padId)
        const found = numbers(resident.forward(batch))
        for (const [i, each] of ids.entries()) {
          const start = i * batch.tokens * width
          expect(distance(found.slice(start, start + each.length * width), hidden[i]!)).toBeLessThan(rounding)
        }
      }
    })
  })
  test('the explicit path gives the same', () => {
    withEncoder(name, (resident) => {
      const batch = padded(ids.slice(0, 3), 0)
      const found = numbers(explicitPaths(() => resident.forward(batch)))
      const fused = numbers(resident.forward(batch))
      for (const [i, { length }] of ids.slice(0, 3).entries()) {
        const [start, end] = [i * batch.tokens * width, (i * batch.tokens + length) * width]
        expect(distance(found.slice(start, end), fused.slice(start, end))).toBeLessThan(rounding)
      }
    })
  })
})

const { ids } = expectedOf('bert-sentence')

describe('sites', () => {
  test('the list of the family is what a forward visits, in order', () => {
    withEncoder('bert-sentence', (resident) => {
      const visited: string[] = []
      resident.forward(padded(ids, 0), { at: () => (_x, site) => void visited.push(site) })
      expect(visited).toEqual(resident.model.sites())
      expect(new Set(visited).size).toBe(2 + 2 * 13)
    })
  })
  test('hooks that change nothing leave every bit of the explicit path', () => {
    withEncoder('bert-sentence', (resident) => {
      const batch = padded(ids.slice(3), 0)
      const plain = numbers(explicitPaths(() => resident.forward(batch)))
      expect(numbers(explicitPaths(() => resident.forward(batch, { at: () => (x) => x })))).toEqual(plain)
    })
  })
  test('probabilities see the tokens behind a query, and no filling', () => {
    withEncoder('bert-sentence', (resident) => {
      let probabilities: number[] = []
      const at = sitesOf({
        'block.0/attn/probs': (x) => {
          expect(x.shape).toEqual([2, 3, 6, 6])
          probabilities = numbers(x)
        },
      })
      resident.forward(padded([ids[2]!, ids[0]!], 0), { at })
      const [query, short] = [probabilities.slice(0, 6), 3]
      expect(query.slice(0, short).every((p) => p > 0)).toBe(true)
      expect(query.slice(short)).toEqual([0, 0, 0])
      expect(probabilities.slice(3 * 36, 3 * 36 + 6).every((p) => p > 0)).toBe(true)
    })
  })
  test.each([
    'input',
    'attn/q',
    'attn/k',
    'attn/v',
    'attn/scores',
    'attn/probs',
    'attn/heads',
    'attn/out',
    'attn/norm',
    'mlp/up',
    'mlp/act',
    'mlp/out',
    'output',
  ])('replacing %s changes the states', (site) => {
    withEncoder('bert-sentence', (resident) => {
      const batch = padded([ids[3]!], 0)
      const plain = numbers(resident.forward(batch))
      const at = sitesOf({ [`block.0/${site}`]: (x) => x.mul(0.5) })
      expect(numbers(resident.forward(batch, { at }))).not.toEqual(plain)
    })
  })
})

describe('options', () => {
  test('the embedding and the stages one after the other are the forward, bit for bit', () => {
    withEncoder('bert-sentence', (resident, { model }) => {
      const batch = padded(ids.slice(0, 2), 0)
      const context = model.context(batch)
      let hidden = model.loadEmbedding().forward(batch)
      for (const plan of model.stages) hidden = runStage(plan.load(), hidden, context)
      expect(numbers(hidden)).toEqual(numbers(resident.forward(batch)))
    })
  })
  test('tokens of another type have other states', () => {
    withEncoder('bert-sentence', (resident) => {
      const batch = padded([ids[0]!], 0)
      const types = Uint32Array.from(batch.ids, (_, i) => Number(i > 2))
      expect(numbers(resident.forward({ ...batch, types }))).not.toEqual(numbers(resident.forward(batch)))
    })
  })
  test('a bias that hides all but the own token adds to what hides the filling', () => {
    withEncoder('bert-sentence', (resident, { model }) => {
      const batch = padded([ids[0]!, ids[2]!], 0)
      const alone = tensor(
        Float32Array.from({ length: 36 }, (_, i) => (i % 6 === Math.floor(i / 6) ? 0 : -1e30)),
        [1, 1, 6, 6],
      )
      const found = numbers(resident.forward(batch, { bias: alone }))
      const single = numbers(resident.forward(padded([ids[0]!.slice(0, 1)], 0)))
      expect(distance(found.slice(0, model.config.hidden), single)).toBeLessThan(rounding)
    })
  })
  test('in bf16 the states are those in f32 up to the rounding of bf16', () => {
    withEncoder('bert-sentence', (resident, { model }) => {
      const batch = padded([ids[3]!], 0)
      const exact = numbers(resident.forward(batch))
      const rounded = model.load('bf16').forward(batch)
      expect(rounded.dtype).toBe('bf16')
      const errors = numbers(rounded.cast('f32')).map((x, i) => Math.abs(x - exact[i]!))
      expect(Math.max(...errors)).toBeGreaterThan(0)
      expect(Math.max(...errors)).toBeLessThan(0.15)
    })
  })
  test('weights of a model with a head keep their names in the file', () => {
    withEncoder('bert-head', (_, { model }) => {
      expect(model.stages.map(({ name }) => name)).toEqual(['block.0'])
      expect(model.stages[0]!.weights).toHaveLength(6)
      for (const name of model.stages[0]!.weights) expect(model.weights.infos.has(name), name).toBe(true)
    })
  })
})

describe('shapes', () => {
  const config = configFromHuggingFace({
    model_type: 'bert',
    hidden_size: 4,
    num_attention_heads: 2,
    intermediate_size: 6,
    num_hidden_layers: 1,
    vocab_size: 5,
    max_position_embeddings: 3,
  })
  const layer = 'encoder.layer.0'
  const shapes: Record<string, number[]> = {
    'embeddings.word_embeddings.weight': [5, 4],
    'embeddings.position_embeddings.weight': [3, 4],
    'embeddings.token_type_embeddings.weight': [2, 4],
    'embeddings.LayerNorm.weight': [4],
    'embeddings.LayerNorm.bias': [4],
  }
  for (const [part, out, inputs] of [
    ['attention.self.query', 4, 4],
    ['attention.self.key', 4, 4],
    ['attention.self.value', 4, 4],
    ['attention.output.dense', 4, 4],
    ['intermediate.dense', 6, 4],
    ['output.dense', 4, 6],
  ] as const) {
    shapes[`${layer}.${part}.weight`] = [out, inputs]
    shapes[`${layer}.${part}.bias`] = [out]
  }
  for (const part of ['attention.output.LayerNorm', 'output.LayerNorm']) {
    shapes[`${layer}.${part}.weight`] = [4]
    shapes[`${layer}.${part}.bias`] = [4]
  }
  const weights = (changed: Record<string, number[] | undefined>): ModelWeights => ({
    infos: new Map(
      Object.entries({ ...shapes, ...changed }).flatMap(([name, shape]) =>
        shape ? [[name, { name, shape, type: 'F32', bytes: 0 } satisfies WeightInfo]] : [],
      ),
    ),
    fileBytes: 0,
    load: () => tensor([0]),
    rows: () => tensor([0]),
    slice: () => tensor([0]),
    close: () => {},
  })

  test('a model with every weight is taken', () => {
    expect(new Bert(config, weights({})).sites()).toHaveLength(15)
  })
  test.each(Object.keys(shapes))('%s is named when it is missing or has another shape', (name) => {
    for (const shape of [undefined, [7], [4, 4, 1]]) {
      const open = () => new Bert(config, weights({ [name]: shape }))
      expect(open).toThrow(FormatError)
      expect(open).toThrow(name)
    }
  })
})
