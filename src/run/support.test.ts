import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { layOut } from '../formats/safetensors/header.ts'
import { encoderPath } from '../models/bert/fixtures.suite.ts'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { blockMatrices, blockName } from '../models/llama/names.ts'
import { openModel } from '../models/load_model.ts'
import { type SupportedStep, supportOf, unsupported } from './support.ts'

const folder = mkdtempSync(join(tmpdir(), 'support-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** A folder of one block of zeros whose matrices are all [width, width]. */
function writeNarrow(width: number): string {
  const config = {
    model_type: 'llama',
    hidden_size: width,
    intermediate_size: width,
    num_hidden_layers: 1,
    num_attention_heads: 3,
    vocab_size: 8,
    max_position_embeddings: 16,
    rms_norm_eps: 1e-5,
    hidden_act: 'silu',
    tie_word_embeddings: true,
  }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  const block = ['input_layernorm', 'post_attention_layernorm'] as const
  const infos = [
    { name: 'model.embed_tokens.weight', type: 'F8_E5M2', shape: [8, width] },
    { name: 'model.norm.weight', type: 'F32', shape: [width] },
    ...block.map((part) => ({ name: blockName(0, part), type: 'F32', shape: [width] })),
    ...blockMatrices.map((part) => ({ name: blockName(0, part), type: 'F8_E4M3', shape: [width, width] })),
  ]
  const { head, size } = layOut(infos, {})
  const bytes = new Uint8Array(size)
  bytes.set(head)
  writeFileSync(join(folder, 'model.safetensors'), bytes)
  return folder
}

function supportIn(path: string) {
  const open = openModel(path)
  try {
    const all = supportOf(open)
    return { all, of: (step: SupportedStep) => all.find((support) => support.step === step)! }
  } finally {
    open.close()
  }
}

test('a GGUF file with its tokenizer has every step of a language model', () => {
  const { all, of } = supportIn(fixturePath('llama-f16.gguf'))
  const possible = all.filter((support) => support.possible).map(({ step }) => step)
  expect(possible).toEqual(
    expect.arrayContaining(['compress', 'evaluate', 'generate', 'export gguf', 'export pare']),
  )
  expect(of('embed').reason).toMatch(/a text encoder \(bert\) is needed/)
})
test('without a tokenizer a folder is compressed to a folder, but neither evaluated nor made a GGUF file', () => {
  const { of } = supportIn(fixturePath('llama-tied'))
  expect(of('compress')).toEqual({ step: 'compress', possible: true })
  expect(of('export pare').possible).toBe(true)
  for (const step of ['evaluate', 'generate', 'export gguf'] as const)
    expect(of(step).reason).toMatch(/tokenizer\.json: is missing/)
})
test('a target whose default groups do not fit names those that do, or why none fit', () => {
  expect(supportIn(writeNarrow(96)).all).toContainEqual({
    step: 'export gptq',
    possible: true,
    flags: '--group-size 96',
  })
  // No group helps where 32 does not divide the rows.
  expect(supportIn(fixturePath('llama-tied')).of('export gptq').reason).toMatch(
    /k_proj\.weight: .*\[16, 32\]; choose/,
  )
})
test('a text encoder embeds, and is compressed for the targets that hold encoders', () => {
  const { all, of } = supportIn(encoderPath('bert-sentence'))
  expect(all.filter((support) => support.possible).map(({ step }) => step)).toEqual([
    'compress',
    'embed',
    'export pare',
    'export transformers.js',
    'export onnx',
  ])
  expect(of('generate').reason).toMatch(/a language model .* is needed/)
  expect(of('export gguf').reason).toMatch(
    /--target gguf: holds language models, choose --target pare, onnx or transformers\.js, and bert-sentence is a text encoder/,
  )
})
test('a model that cannot be opened has one reason for all', () => {
  const all = unsupported('it is damaged')
  expect(all.map(({ step }) => step)).toEqual(
    supportIn(fixturePath('llama-f16.gguf')).all.map(({ step }) => step),
  )
  expect(all.every(({ possible, reason }) => !possible && reason === 'it is damaged')).toBe(true)
})
