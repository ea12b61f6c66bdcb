import { expect, test } from 'vitest'
import type { LlamaConfig } from '../models/llama/config.ts'
import { settingsFor, type TextGeneratorOptions } from './generator_settings.ts'

/** Two blocks of two key heads with 8 numbers: 64 numbers of keys and values a token. */
const config = {
  ...{ context: 100, headSize: 8 },
  layers: [
    { heads: 4, kvHeads: 2 },
    { heads: 4, kvHeads: 2 },
  ],
} as unknown as LlamaConfig

test('the context is that of the model, or as many tokens as the memory of keys and values holds', () => {
  expect(settingsFor(config, {})).toMatchObject({ slots: 8, context: 100, tokenBytes: 256, rows: 'together' })
  expect(settingsFor(config, { cacheBytes: 2600 }).context).toBe(10)
  expect(settingsFor(config, { dtype: 'bf16', cacheBytes: 2600 }).context).toBe(20)
  expect(settingsFor(config, { slots: 1 }).rows).toBe('apart')
})
test.each<[string, TextGeneratorOptions]>([
  ['slots', { slots: 0 }],
  ['pieceTokens', { pieceTokens: 1.5 }],
  ['cacheBytes', { cacheBytes: 255 }],
  ['context', { context: 101 }],
  ['context', { context: 50, cacheBytes: 2560 }],
  ['packed', { packed: 'int8', dtype: 'bf16' }],
])('%s is refused by name: %j', (option, options) => {
  expect(() => settingsFor(config, options)).toThrow(new RegExp(`^${option}: needs `))
})
