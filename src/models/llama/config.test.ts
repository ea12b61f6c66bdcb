import { describe, expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { configFromHuggingFace, configToHuggingFace } from './config.ts'
import { configFromGguf } from './gguf_config.ts'

const whole = {
  model_type: 'llama',
  hidden_size: 64,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 96,
  num_hidden_layers: 2,
  vocab_size: 100,
}
const without = (key: string) => Object.fromEntries(Object.entries(whole).filter(([name]) => name !== key))

describe('config.json', () => {
  test('what is not said has the default of transformers', () => {
    expect(configFromHuggingFace(whole)).toEqual({
      architecture: 'llama',
      hidden: 64,
      layers: Array(2).fill({ heads: 4, kvHeads: 2, intermediate: 96 }),
      headSize: 16,
      vocabulary: 100,
      context: 2048,
      normEpsilon: 1e-6,
      rotaryBase: 10000,
      rotaryScaling: { kind: 'none' },
      tied: false,
      attentionBias: false,
    })
    expect(configFromHuggingFace(without('num_key_value_heads')).layers[0]!.kvHeads).toBe(4)
  })
  test.each(['hidden_size', 'num_attention_heads', 'intermediate_size', 'num_hidden_layers', 'vocab_size'])(
    '%s is named when it is missing or no positive whole number',
    (key) => {
      for (const wrong of [undefined, null, 0, -1, 1.5, '64', 2 ** 31, Number.NaN]) {
        const read = () => configFromHuggingFace({ ...whole, [key]: wrong })
        expect(read).toThrow(FormatError)
        expect(read).toThrow(key)
      }
    },
  )
  test('an unknown architecture, activation or rotary scaling is named with what is possible', () => {
    expect(() => configFromHuggingFace({ ...whole, model_type: 'gpt2' })).toThrow(
      /gpt2 .* llama, mistral, qwen2/,
    )
    expect(() => configFromHuggingFace({})).toThrow(/model_type nothing/)
    expect(() => configFromHuggingFace({ ...whole, hidden_act: 'gelu' })).toThrow(/hidden_act gelu/)
    expect(() => configFromHuggingFace({ ...whole, mlp_bias: true })).toThrow(/mlp_bias/)
    expect(() => configFromHuggingFace({ ...whole, rope_scaling: { type: 'yarn', factor: 2 } })).toThrow(
      /yarn/,
    )
    expect(() => configFromHuggingFace({ ...whole, rope_scaling: { rope_type: 'linear' } })).toThrow(/factor/)
  })
  test('a number of layers that no model has is refused before anything is made of it', () => {
    expect(() => configFromHuggingFace({ ...whole, num_hidden_layers: 2 ** 30 })).toThrow(/layers/)
  })
  test('only mistral has a sliding window; qwen2 with one is refused', () => {
    const window = { ...whole, sliding_window: 32 }
    expect(configFromHuggingFace({ ...window, model_type: 'mistral' }).slidingWindow).toBe(32)
    expect(configFromHuggingFace({ ...window, model_type: 'qwen2' }).slidingWindow).toBeUndefined()
    expect(configFromHuggingFace(window).slidingWindow).toBeUndefined()
    expect(() => configFromHuggingFace({ ...window, model_type: 'qwen2', use_sliding_window: true })).toThrow(
      /use_sliding_window/,
    )
  })
  test('a config that is written reads back as it was, with blocks of different widths too', () => {
    const config = configFromHuggingFace({
      ...whole,
      rope_scaling: { rope_type: 'linear', factor: 2 },
      tie_word_embeddings: true,
    })
    expect(configFromHuggingFace(configToHuggingFace(config))).toEqual(config)
    const uneven = { ...config, layers: [config.layers[0]!, { heads: 2, kvHeads: 1, intermediate: 32 }] }
    expect(configFromHuggingFace(configToHuggingFace(uneven))).toEqual(uneven)
  })
  test('widths of single blocks are checked as those of all', () => {
    for (const heads of [0, -1, 'two', 1e12]) {
      expect(() => configFromHuggingFace({ ...whole, pare_layers: [{ heads }] })).toThrow(FormatError)
    }
  })
})

describe('GGUF metadata', () => {
  const metadata: Record<string, unknown> = {
    'general.architecture': 'llama',
    'llama.embedding_length': 64,
    'llama.block_count': 2,
    'llama.attention.head_count': 4,
    'llama.attention.head_count_kv': 2,
    'llama.feed_forward_length': 96,
    'llama.context_length': 512n,
  }
  const read = (
    changed: Record<string, unknown> = {},
    shapes: Record<string, number[]> = { 'token_embd.weight': [100, 64] },
  ) =>
    configFromGguf(
      (key) => ({ ...metadata, ...changed })[key],
      (name) => shapes[name],
      undefined,
    )

  test('shapes come from the metadata, the vocabulary from the embedding, ties and biases from what is there', () => {
    expect(read()).toMatchObject({
      hidden: 64,
      headSize: 16,
      vocabulary: 100,
      context: 512,
      tied: true,
      attentionBias: false,
    })
    const shapes = { 'token_embd.weight': [100, 64], 'output.weight': [100, 64], 'blk.0.attn_q.bias': [64] }
    expect(read({}, shapes)).toMatchObject({ tied: false, attentionBias: true })
  })
  test('widths may be lists with one entry a block', () => {
    expect(read({ 'llama.feed_forward_length': [96, 32] }).layers.map((l) => l.intermediate)).toEqual([
      96, 32,
    ])
    expect(() => read({ 'llama.feed_forward_length': [96] })).toThrow(/entry 1/)
  })
  test.each(['embedding_length', 'block_count', 'attention.head_count', 'feed_forward_length'])(
    'llama.%s is named when it is wrong',
    (key) => {
      for (const wrong of [undefined, 0, -3, 'x', 1.5, 2 ** 40]) {
        expect(() => read({ [`llama.${key}`]: wrong })).toThrow(FormatError)
        expect(() => read({ [`llama.${key}`]: wrong })).toThrow(key)
      }
    },
  )
  test('an unknown architecture, scaling, absurd depth or missing embedding is refused', () => {
    expect(() => read({ 'general.architecture': 'bert' })).toThrow(/bert .* llama, qwen2/)
    expect(() => read({ 'llama.rope.scaling.type': 'yarn' })).toThrow(/yarn/)
    expect(() => read({ 'llama.block_count': 100_000 })).toThrow(/block_count/)
    expect(() => read({}, {})).toThrow(/token_embd\.weight/)
  })
})
