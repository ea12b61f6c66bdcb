/** The tiny checkpoints of interop/fixtures, with the logits that the oracle there computes for them. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { scope, type Tensor } from '../../tensor/index.ts'
import { openLanguageModel } from '../load_model.ts'
import type { OpenLanguageModel } from '../open_model.ts'

const root = fileURLToPath(new URL('../../../interop/fixtures/', import.meta.url))

export const folders = [
  'llama-tied',
  'llama-untied',
  'llama-head-size',
  'llama-rope-llama3',
  'llama-rope-linear',
  'mistral',
  'qwen2',
  'smollm',
  'llama-gptq-4',
  'llama-gptq-3',
  'gptq-dynamic',
  'awq',
  'ct-actorder',
  'ct-channel-8',
  'ct-float8',
  'ct-group-3',
  'ct-group-3-old',
  'ct-group-4',
  'ct-group-4-int8-zeros',
  'ct-group-4-zeros',
  'ct-int8',
  'ct-sparse-24',
  'ct-sparse-24-float8',
  'ct-sparse-bitmask',
  'ct-tensor-4',
  'ct-two-groups',
  'mlx-2',
  'mlx-3',
  'mlx-4-bf16',
  'mlx-4-f16',
  'mlx-5',
  'mlx-6',
  'mlx-8',
  'mlx-overrides',
  'aqlm-1x10',
  'aqlm-2x8',
  'aqlm-2x8-inputs-first',
  'spqr-csr',
  'spqr-ptcsr',
] as const
export const files = [
  'llama-f16.gguf',
  'llama-f32.gguf',
  'llama-rope-freqs-f16.gguf',
  'llama-rope-linear-f16.gguf',
  'qwen2-f16.gguf',
] as const
export type FixtureName = (typeof folders)[number] | (typeof files)[number]

export const fixturePath = (name: FixtureName): string => `${root}${name}`
export const openFixture = (name: FixtureName): OpenLanguageModel => openLanguageModel(fixturePath(name))

/** Token ids and logits [tokens, vocabulary]. */
export function expectedOf(name: FixtureName): {
  tokens: Uint32Array
  logits: Float32Array
  vocabulary: number
} {
  const path = name.endsWith('.gguf')
    ? `${root}${name.replace(/gguf$/, 'expected.json')}`
    : `${root}${name}/expected.json`
  const { tokens, vocabulary, logits } = JSON.parse(readFileSync(path, 'utf8'))
  const bytes = Uint8Array.from(Buffer.from(logits, 'base64'))
  return { tokens: Uint32Array.from(tokens), logits: new Float32Array(bytes.buffer), vocabulary }
}

/** What `body` returns of a model that is open and loaded for that long. */
export function withFixture<T>(
  name: FixtureName,
  body: (resident: ReturnType<OpenLanguageModel['model']['load']>, open: OpenLanguageModel) => T,
): T {
  const open = openFixture(name)
  try {
    return scope(() => body(open.model.load(), open))
  } finally {
    open.close()
  }
}

export const numbers = (x: Tensor): number[] => Array.from(x.toArray(), Number)

/** Largest difference, relative to the largest of the expected numbers. */
export function distance(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, largest] = [found.length === expected.length ? 0 : Number.POSITIVE_INFINITY, 0]
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(found[i]! - expected[i]!))
    largest = Math.max(largest, Math.abs(expected[i]!))
  }
  return difference / largest
}
