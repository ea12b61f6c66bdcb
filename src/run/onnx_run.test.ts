import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openOnnx } from '../formats/onnx/onnx.ts'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { loadLanguageModel } from '../models/load_model.ts'
import { compress } from './compress.ts'
import { convert } from './convert/convert.ts'
import { smallRun, writeText } from './small_run.suite.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'onnx-run-test-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

test.each([
  ['onnx', 'gptq', 4, { activations: 'F16' }, 'model.onnx'],
  ['transformers.js', 'rtn', 4, { embedding: 'F16', activations: 'F32' }, 'onnx/model_q4.onnx'],
  ['transformers.js', 'rtn', 8, {}, 'onnx/model_quantized.onnx'],
] as const)(
  'compress to %s by %s writes %d bits with %j, which open again',
  async (target, method, bits, types, file) => {
    const output = join(folder, `${target}-${Object.keys(types).join('-')}`)
    const options = { target, method, bits, ...types }
    const report = await compress({ ...smallRun(writeText(join(folder, 'text')), output), ...options })
    expect(report.bytes).toBe(statSync(join(output, file)).size)
    const { format, weights, close } = await loadLanguageModel(output)
    expect(format).toBe('onnx')
    expect(weights.infos.get('model.layers.0.mlp.up_proj.weight')!.type).toBe(`onnx-${bits}bit`)
    expect(weights.infos.get('model.embed_tokens.weight')!.type).toBe(
      Object.keys(types).length > 0 ? 'F16' : 'F32',
    )
    const flags = Object.entries(types).map(([name, type]) => `--${name} ${type}`)
    for (const flag of flags) expect(report.command!.join(' ')).toContain(flag)
    expect(report.notes.some((note) => /computed in f(16|32)/.test(note))).toBe(flags.length > 0)
    close()
  },
)

test.each([
  ['awq', {}],
  ['ct-group-4', { target: 'onnx' }],
  ['llama-untied', { target: 'onnx' }],
  ['llama-f16.gguf', { target: 'transformers.js', type: 'f16' }],
] as const)('convert of %s to ONNX loses nothing', async (name, options) => {
  const output = join(folder, `converted-${name}`)
  const given = { target: 'onnx', lossless: true, ...options } as const
  const { lossless, files } = await convert({ source: fixturePath(name), output, ...given })
  expect(lossless).toBe(true)
  expect(files).toContain('type' in options ? 'onnx/model_fp16.onnx' : 'model.onnx')
})

test('convert computes in f16 where that is asked for, with weights in f16', async () => {
  const source = fixturePath('llama-f16.gguf')
  const given = { source, target: 'transformers.js', type: 'f16' } as const
  for (const activations of ['F32', 'F16'] as const) {
    const output = join(folder, `converted-${activations}`)
    const { notes } = await convert({ ...given, output, activations })
    expect(notes.join()).toContain(activations === 'F16' ? 'computed in f16' : 'computed in f32')
    const archive = openOnnx(join(output, 'onnx/model_fp16.onnx'))
    archive.close()
    const cache = archive.parsed.model.graph.inputs.find(({ name }) => name === 'past_key_values.0.key')
    expect(cache!.type).toBe(activations)
  }
})

test.each([
  [{ target: 'onnx' }, /^--activations: F16 goes with --type f16, got codes; add it/],
  [{ target: 'onnx', type: 'f32' }, /got f32/],
  [{ target: 'llama.cpp', type: 'f16' }, /^--activations: is for --target onnx and transformers.js/],
  [{ target: 'transformers', format: 'float' }, /^--activations: is for --target onnx and transformers.js/],
] as const)('convert refuses activations in f16 with %j', async (options, message) => {
  const given = { source: fixturePath('llama-untied'), output: join(folder, 'refused') }
  await expect(convert({ ...given, ...options, activations: 'F16' })).rejects.toThrow(message)
})

test('bf16 is refused for ONNX', async () => {
  const given = { source: fixturePath('llama-untied'), output: join(folder, 'bf16'), target: 'onnx' } as const
  await expect(convert({ ...given, type: 'bf16' })).rejects.toThrow(/an ONNX file has f32 or f16/)
})
