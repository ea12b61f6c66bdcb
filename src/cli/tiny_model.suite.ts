/**
 * A llama model small enough to be compressed in a second: two blocks of random weights and a byte-level
 * vocabulary, so that every text has tokens. As a GGUF file or, with the same weights, as a Hugging Face folder.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type GgufValue, gguf } from '../formats/gguf/metadata.ts'
import { createGguf } from '../formats/gguf/writer.ts'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import { tokenizerJsonOfGguf } from '../formats/tokenizer/gguf_tokenizer.ts'
import { byteLevelCharacters } from '../formats/tokenizer/token_bytes.ts'
import { configToHuggingFace, type LlamaConfig } from '../models/llama/config.ts'
import { llamaGgufMetadata } from '../models/llama/gguf_metadata.ts'
import { blockMatrices, blockName, embeddingName, finalNormName, ggufName } from '../models/llama/names.ts'
import { plainLlama } from '../models/llama/plain_llama.suite.ts'
import { scope } from '../tensor/index.ts'
import { randomStream } from '../tensor/random.ts'

export interface TinyModelOptions {
  /** Width of the model; K types need multiples of 256. @default 64 */
  hidden?: number
  /** Type of the matrices. @default 'F16' */
  type?: 'F16' | 'F32'
  /** Metadata that replaces what the file would have; undefined removes the key. */
  metadata?: Readonly<Record<string, GgufValue | undefined>>
  /** Tokens at the end of the vocabulary, which come with no merge. */
  extraTokens?: readonly string[]
}

const merges = ['t h', 'h e', 'i n', 'e r', 'a n', 'Ġ t', 'Ġ a']
const END = '<|end|>'

/** The tokenizer's metadata: 256 bytes, a few merges, one control token that ends a text. */
function tokenizerMetadata(extra: readonly string[]): Map<string, GgufValue> {
  const tokens = [...byteLevelCharacters, ...merges.map((merge) => merge.replace(' ', '')), ...extra, END]
  return new Map([
    ['tokenizer.ggml.model', gguf.string('gpt2')],
    ['tokenizer.ggml.pre', gguf.string('gpt-2')],
    ['tokenizer.ggml.tokens', gguf.strings(tokens)],
    ['tokenizer.ggml.token_type', gguf.i32s(tokens.map((token) => (token === END ? 3 : 1)))],
    ['tokenizer.ggml.merges', gguf.strings(merges)],
    ['tokenizer.ggml.eos_token_id', gguf.u32(tokens.length - 1)],
  ])
}

function tinyConfig(hidden: number, vocabulary: number): LlamaConfig {
  const layer = { heads: 4, kvHeads: 2, intermediate: 2 * hidden }
  return plainLlama({
    hidden,
    layers: [layer, layer],
    headSize: hidden / 4,
    vocabulary,
    context: 256,
  })
}

/** Shape of every weight under its Hugging Face name. */
function shapesOf({ hidden, headSize, layers, vocabulary }: LlamaConfig): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>([[embeddingName, [vocabulary, hidden]]])
  for (const [block, { heads, kvHeads, intermediate }] of layers.entries()) {
    const outputs = [
      heads * headSize,
      kvHeads * headSize,
      kvHeads * headSize,
      hidden,
      intermediate,
      intermediate,
      hidden,
    ]
    for (const [i, part] of blockMatrices.entries()) {
      const inputs =
        part === 'mlp.down_proj' ? intermediate : part === 'self_attn.o_proj' ? heads * headSize : hidden
      shapes.set(blockName(block, part), [outputs[i]!, inputs])
    }
    shapes.set(blockName(block, 'input_layernorm'), [hidden])
    shapes.set(blockName(block, 'post_attention_layernorm'), [hidden])
  }
  return shapes.set(finalNormName, [hidden])
}

/** Bytes of a weight: norms are 1, the rest normal with a deviation that keeps activations near 1. */
function weightBytes(name: string, shape: readonly number[], type: 'f16' | 'f32'): Uint8Array {
  return scope(() => {
    if (shape.length === 1) return new Uint8Array(new Float32Array(shape[0]!).fill(1).buffer)
    return randomStream(1, name)
      .normal(shape)
      .mul(1 / Math.sqrt(shape[1]!))
      .cast(type)
      .bytes()
  })
}

/** Writes `path` as a GGUF file and returns it. */
export function writeTinyGguf(path: string, options: TinyModelOptions = {}): string {
  const { hidden = 64, type = 'F16', metadata = {}, extraTokens = [] } = options
  const tokenizer = tokenizerMetadata(extraTokens)
  const config = tinyConfig(hidden, (tokenizer.get('tokenizer.ggml.tokens')!.value as string[]).length)
  const entries = new Map<string, GgufValue | undefined>([
    ...llamaGgufMetadata(config, 'tiny', tokenizer),
    ...Object.entries(metadata),
  ])
  const present = [...entries].filter((entry): entry is [string, GgufValue] => entry[1] !== undefined)
  const shapes = shapesOf(config)
  const infos = [...shapes].map(([name, shape]) => ({
    name: ggufName(name)!,
    shape,
    type: shape.length === 1 ? 'F32' : type,
  }))
  const writer = createGguf(path, new Map(present), infos)
  for (const [name, shape] of shapes)
    writer.append(ggufName(name)!, weightBytes(name, shape, type === 'F16' ? 'f16' : 'f32'))
  writer.finish()
  return path
}

/** Writes a Hugging Face folder and returns it. */
export function writeTinyFolder(
  folder: string,
  options: Pick<TinyModelOptions, 'hidden' | 'extraTokens'> = {},
): string {
  mkdirSync(folder, { recursive: true })
  const { json } = tokenizerJsonOfGguf(tokenizerMetadata(options.extraTokens ?? []))
  const vocabulary = byteLevelCharacters.length + merges.length + (options.extraTokens?.length ?? 0) + 1
  const config = tinyConfig(options.hidden ?? 64, vocabulary)
  writeFileSync(join(folder, 'config.json'), JSON.stringify(configToHuggingFace(config)))
  writeFileSync(join(folder, 'tokenizer.json'), json)
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ eos_token: END }))
  const shapes = shapesOf(config)
  const infos = [...shapes].map(([name, shape]) => ({
    name,
    shape,
    type: shape.length === 1 ? 'F32' : 'F16',
  }))
  const writer = createSafetensors(join(folder, 'model.safetensors'), infos)
  for (const [name, shape] of shapes) writer.append(name, weightBytes(name, shape, 'f16'))
  writer.finish()
  return folder
}
