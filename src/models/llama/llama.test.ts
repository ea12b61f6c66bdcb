import { describe, expect, test } from 'vitest'
import { sitesOf } from '../../nn/sites.ts'
import { FormatError } from '../../tensor/errors.ts'
import { explicitPaths, scope, type Tensor, tensor } from '../../tensor/index.ts'
import type { ModelWeights, WeightInfo } from '../model_weights.ts'
import { runStage } from '../stage.ts'
import { configFromHuggingFace } from './config.ts'
import { distance, expectedOf, files, folders, numbers, withFixture } from './fixtures.suite.ts'
import { Llama } from './llama.ts'

test.each([...folders, ...files])('%s: the logits are those of the float64 oracle', (name) => {
  const { tokens, logits, vocabulary } = expectedOf(name)
  withFixture(name, (resident) => {
    const found = resident.forward(tokens)
    expect(found.shape).toEqual([tokens.length, vocabulary])
    // f32 sums of up to 32 products in a few layers.
    expect(distance(numbers(found), logits)).toBeLessThan(1e-5)
  })
})

describe('sites', () => {
  const { tokens } = expectedOf('llama-tied')

  test('the list of the family is what a forward visits, in order', () => {
    withFixture('llama-tied', (resident) => {
      const visited: string[] = []
      resident.forward(tokens, { at: () => (_x, site) => void visited.push(site) })
      expect(visited).toEqual(resident.model.sites())
      expect(new Set(visited).size).toBe(2 * 17 + 3)
    })
  })
  test('hooks that change nothing leave every bit of the explicit path', () => {
    withFixture('llama-tied', (resident) => {
      const plain = numbers(explicitPaths(() => resident.forward(tokens)))
      expect(numbers(explicitPaths(() => resident.forward(tokens, { at: () => (x) => x })))).toEqual(plain)
      expect(numbers(resident.forward(tokens, { at: () => () => undefined }))).toEqual(plain)
    })
  })
  test('hooks outside of attention leave every bit of the fused path', () => {
    withFixture('llama-tied', (resident) => {
      const plain = numbers(resident.forward(tokens))
      const at = sitesOf({ 'block.0/mlp/act': (x) => x, 'block.1/attn/out': () => undefined })
      expect(numbers(resident.forward(tokens, { at }))).toEqual(plain)
    })
  })
  test('what a hook returns takes the place of the tensor: a block without its two branches is the identity', () => {
    withFixture('llama-tied', (resident) => {
      const nothing = (x: Tensor) => x.mul(0)
      const seen: number[][] = []
      const at = sitesOf({
        'block.0/attn/out': nothing,
        'block.0/mlp/out': nothing,
        'block.0/input': (x) => void seen.push(numbers(x)),
        'block.1/input': (x) => void seen.push(numbers(x)),
      })
      resident.forward(tokens, { at })
      expect(seen).toHaveLength(2)
      expect(seen[1]).toEqual(seen[0])
    })
  })
  test.each([
    'attn/norm',
    'attn/q',
    'attn/k',
    'attn/v',
    'attn/q.rope',
    'attn/k.rope',
    'attn/scores',
    'attn/probs',
    'attn/heads',
    'mlp/norm',
    'mlp/gate',
    'mlp/up',
    'mlp/act',
    'output',
  ])('replacing %s changes the logits', (site) => {
    withFixture('llama-tied', (resident) => {
      const plain = numbers(resident.forward(tokens))
      const at = sitesOf({ [`block.0/${site}`]: (x) => x.mul(0.5) })
      expect(numbers(resident.forward(tokens, { at }))).not.toEqual(plain)
    })
  })
  test('probabilities are [1, heads, queries, keys], sum to 1 and see no later key', () => {
    withFixture('llama-tied', (resident) => {
      let probabilities: number[] = []
      const at = sitesOf({
        'block.1/attn/probs': (x) => {
          expect(x.shape).toEqual([1, 4, 16, 16])
          probabilities = numbers(x)
        },
      })
      resident.forward(tokens, { at })
      for (let row = 0; row < 64; row++) {
        const values = probabilities.slice(row * 16, row * 16 + 16)
        expect(values.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5)
        expect(values.slice((row % 16) + 1).every((p) => p === 0)).toBe(true)
      }
    })
  })
})

describe('options', () => {
  const { tokens } = expectedOf('llama-tied')

  test('the stages one after the other and the head are the forward, bit for bit', () => {
    withFixture('llama-tied', (resident, { model }) => {
      let hidden = model.embed(tokens)
      for (const plan of model.stages) hidden = runStage(plan.load(), hidden, model.context(tokens.length))
      expect(numbers(model.loadHead().logits(hidden))).toEqual(numbers(resident.forward(tokens)))
    })
  })
  test('a head that is read in blocks gives the logits of the whole one, bit for bit', () => {
    for (const name of ['llama-tied', 'llama-untied'] as const) {
      withFixture(name, (_, { model }) => {
        const hidden = model.embed(tokens)
        const whole = numbers(model.loadHead().logits(hidden))
        const { vocabulary } = model.config
        for (const blockRows of [Math.ceil(vocabulary / 5), vocabulary - 1, vocabulary, vocabulary + 1])
          expect(numbers(model.loadHead({ blockRows }).logits(hidden))).toEqual(whole)
      })
    }
  })
  test.each(['llama-tied', 'mistral'] as const)(
    'in bf16 the logits are those in f32 up to the rounding of bf16 (%s)',
    (name) => {
      withFixture(name, (resident, { model }) => {
        const exact = numbers(resident.forward(tokens))
        const rounded = model.load('bf16').forward(tokens)
        expect(rounded.dtype).toBe('bf16')
        const largest = Math.max(...exact.map(Math.abs))
        const errors = numbers(rounded.cast('f32')).map((x, i) => Math.abs(x - exact[i]!) / largest)
        expect(Math.max(...errors)).toBeGreaterThan(0)
        expect(Math.max(...errors)).toBeLessThan(0.05)
      })
    },
  )
  test('embeddings in place of ids give the logits of the ids', () => {
    withFixture('llama-tied', (resident, { model }) => {
      const embeddings = model.embed(tokens)
      expect(numbers(resident.forward(new Uint32Array(0), { embeddings }))).toEqual(
        numbers(resident.forward(tokens)),
      )
    })
  })
  test('a batch of embeddings gives each sequence its own logits', () => {
    withFixture('llama-tied', (resident, { model }) => {
      const other = tokens.slice().reverse()
      const both = tensor([...numbers(model.embed(tokens)), ...numbers(model.embed(other))], [2, 16, 32])
      const found = numbers(resident.forward(new Uint32Array(0), { embeddings: both }))
      expect(distance(found.slice(0, 512), numbers(resident.forward(tokens)))).toBeLessThan(1e-5)
      expect(distance(found.slice(512), numbers(resident.forward(other)))).toBeLessThan(1e-5)
    })
  })
  test('only the distances of positions count', () => {
    withFixture('llama-tied', (resident) => {
      const plain = numbers(resident.forward(tokens))
      const shifted = numbers(resident.forward(tokens, { positions: Array.from(tokens, (_, i) => i + 7) }))
      expect(distance(shifted, plain)).toBeLessThan(1e-4)
      const stretched = numbers(resident.forward(tokens, { positions: Array.from(tokens, (_, i) => 3 * i) }))
      expect(distance(stretched, plain)).toBeGreaterThan(1e-2)
    })
  })
  test('a bias that hides all but the last key makes every token read itself alone', () => {
    withFixture('llama-tied', (resident) => {
      const values = Float32Array.from({ length: 256 }, (_, i) =>
        i % 16 === Math.floor(i / 16) ? 0 : Number.NEGATIVE_INFINITY,
      )
      const alone = numbers(resident.forward(tokens, { bias: tensor(values, [1, 1, 16, 16]) }))
      for (const i of [0, 5, 15]) {
        const single = numbers(resident.forward(tokens.slice(i, i + 1)))
        expect(distance(alone.slice(i * 32, i * 32 + 32), single)).toBeLessThan(1e-5)
      }
    })
  })
  test('a sliding window hides older keys only where the text is longer than it', () => {
    const { tokens, logits } = expectedOf('mistral')
    withFixture('mistral', (_, { model }) => {
      expect(model.config.slidingWindow).toBe(8)
      const without = scope(() =>
        new Llama({ ...model.config, slidingWindow: 100 }, model.weights).load().forward(tokens),
      )
      expect(distance(numbers(without).slice(0, 8 * 32), logits.slice(0, 8 * 32))).toBeLessThan(1e-5)
      expect(distance(numbers(without), logits)).toBeGreaterThan(1e-3)
      expect(model.context(8).bias).toBeUndefined()
      const bias = numbers(model.context(9).bias!)
      expect(bias.filter((value) => value === Number.NEGATIVE_INFINITY)).toHaveLength(1)
      expect(bias[8 * 9]).toBe(Number.NEGATIVE_INFINITY)
    })
  })
})

describe('shapes', () => {
  const config = configFromHuggingFace({
    model_type: 'llama',
    hidden_size: 4,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    intermediate_size: 6,
    num_hidden_layers: 1,
    vocab_size: 3,
    tie_word_embeddings: true,
  })
  const shapes: Record<string, number[]> = {
    'model.embed_tokens.weight': [3, 4],
    'model.norm.weight': [4],
    'model.layers.0.input_layernorm.weight': [4],
    'model.layers.0.post_attention_layernorm.weight': [4],
    'model.layers.0.self_attn.q_proj.weight': [4, 4],
    'model.layers.0.self_attn.k_proj.weight': [2, 4],
    'model.layers.0.self_attn.v_proj.weight': [2, 4],
    'model.layers.0.self_attn.o_proj.weight': [4, 4],
    'model.layers.0.mlp.gate_proj.weight': [6, 4],
    'model.layers.0.mlp.up_proj.weight': [6, 4],
    'model.layers.0.mlp.down_proj.weight': [4, 6],
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
    expect(new Llama(config, weights({})).stages.map(({ name }) => name)).toEqual(['block.0'])
  })
  test.each(Object.keys(shapes))('%s is named when it is missing or has another shape', (name) => {
    for (const shape of [undefined, [7], [4, 4, 1]]) {
      const open = () => new Llama(config, weights({ [name]: shape }))
      expect(open).toThrow(FormatError)
      expect(open).toThrow(name)
    }
  })
  test('an untied head, biases of q, k and v, and a bias of o that is there are checked too', () => {
    expect(() => new Llama({ ...config, tied: false }, weights({}))).toThrow(/^lm_head\.weight: .*nothing/)
    expect(() => new Llama({ ...config, attentionBias: true }, weights({}))).toThrow(/q_proj\.bias/)
    expect(() => new Llama(config, weights({ 'model.layers.0.self_attn.o_proj.bias': [3] }))).toThrow(
      /o_proj\.bias/,
    )
  })
  test('key heads that do not divide the query heads, and odd head sizes, are refused', () => {
    const layers = [{ heads: 3, kvHeads: 2, intermediate: 6 }]
    expect(() => new Llama({ ...config, layers }, weights({}))).toThrow(/2 key heads do not divide 3/)
    expect(() => new Llama({ ...config, headSize: 3 }, weights({}))).toThrow(/even/)
  })
  test('divisors of another length than half a head are refused', () => {
    const rotaryScaling = { kind: 'divisors', divisors: [1, 2, 3] } as const
    expect(() => new Llama({ ...config, rotaryScaling }, weights({}))).toThrow(
      /rope_freqs\.weight: .*needs 1 .*got 3/,
    )
  })
})
