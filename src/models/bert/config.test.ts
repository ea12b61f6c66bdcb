import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { configFromHuggingFace } from './config.ts'

const whole = {
  model_type: 'bert',
  hidden_size: 384,
  num_attention_heads: 12,
  intermediate_size: 1536,
  num_hidden_layers: 6,
  vocab_size: 30522,
}

test('fields that are left out have the values of the reference', () => {
  expect(configFromHuggingFace(whole)).toEqual({
    architecture: 'bert',
    hidden: 384,
    layers: Array.from({ length: 6 }, () => ({ heads: 12, intermediate: 1536 })),
    headSize: 32,
    vocabulary: 30522,
    context: 512,
    typeVocabulary: 2,
    normEpsilon: 1e-12,
    activation: 'gelu',
    padId: 0,
  })
})
test.each([
  ['gelu', 'gelu'],
  ['gelu_new', 'gelu_new'],
  ['gelu_pytorch_tanh', 'gelu_new'],
  ['relu', 'relu'],
])('hidden_act %s is %s', (word, activation) => {
  expect(configFromHuggingFace({ ...whole, hidden_act: word }).activation).toBe(activation)
})
test.each([
  [{ model_type: 'roberta' }, /roberta/],
  [{ hidden_act: 'quick_gelu' }, /quick_gelu.*gelu, gelu_new/],
  [{ hidden_act: 'constructor' }, /constructor/],
  [{ position_embedding_type: 'relative_key' }, /relative_key/],
  [{ is_decoder: true }, /decoder/],
  [{ add_cross_attention: true }, /decoder/],
  [{ num_attention_heads: 7 }, /7 and 384/],
  [{ pad_token_id: 30522 }, /pad_token_id/],
  [{ pad_token_id: 'x' }, /pad_token_id/],
  [{ layer_norm_eps: 0 }, /layer_norm_eps/],
  [{ type_vocab_size: 1.5 }, /type_vocab_size/],
  [{ num_hidden_layers: 2 ** 30 }, /layers/],
])('%o is refused', (changed, message) => {
  const read = () => configFromHuggingFace({ ...whole, ...changed })
  expect(read).toThrow(FormatError)
  expect(read).toThrow(message)
})
