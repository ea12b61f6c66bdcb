import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
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
  ['onnx', 'gptq', 4, 'F16', 'model.onnx'],
  ['transformers.js', 'rtn', 8, undefined, 'onnx/model_quantized.onnx'],
] as const)(
  'compress to %s by %s writes %d bits, which open again',
  async (target, method, bits, embedding, file) => {
    const output = join(folder, target)
    const options = { target, method, bits, ...(embedding ? { embedding } : {}) }
    const report = await compress({ ...smallRun(writeText(join(folder, 'text')), output), ...options })
    expect(report.bytes).toBe(statSync(join(output, file)).size)
    const { format, weights, close } = await loadLanguageModel(output)
    expect(format).toBe('onnx')
    expect(weights.infos.get('model.layers.0.mlp.up_proj.weight')!.type).toBe(`onnx-${bits}bit`)
    expect(weights.infos.get('model.embed_tokens.weight')!.type).toBe(embedding ?? 'F32')
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

test('bf16 is refused for ONNX', async () => {
  const given = { source: fixturePath('llama-untied'), output: join(folder, 'bf16'), target: 'onnx' } as const
  await expect(convert({ ...given, type: 'bf16' })).rejects.toThrow(/an ONNX file has f32 or f16/)
})
