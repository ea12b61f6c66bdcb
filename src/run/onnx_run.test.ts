import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadLanguageModel } from '../models/load_model.ts'
import { compress } from './compress.ts'
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
