/** Conversions of a model with rows of 256: what is kept, what is refused, and what stays behind. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openGguf } from '../../formats/gguf/container.ts'
import { openSafetensors } from '../../formats/safetensors/safetensors.ts'
import { fixturePath, numbers } from '../../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../../models/load_model.ts'
import { planGguf } from '../../models/write/gguf_target.ts'
import { planGptq } from '../../models/write/gptq_target.ts'
import { type Rounding, reopened, writeAll, writeWideModel } from '../../models/write/sources.suite.ts'
import { folderSource, ggufSource } from '../../models/write/target.ts'
import { affineGrid } from '../../nn/grid.ts'
import { AbortError, QualityError } from '../../tensor/errors.ts'
import { convert } from './convert.ts'
import type { ConvertOptions } from './convert_options.ts'

let folder: string
const at = (name: string) => join(folder, name)

/** GPTQ checkpoints and GGUF files of the model. */
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'convert-test-'))
  const wide = openLanguageModel(writeWideModel(at('wide'), { tied: true }))
  const gptq = (name: string, symmetric: boolean, rounding: Rounding) => {
    const { sorted = false } = rounding
    const grid = affineGrid({ groupSize: 64, symmetric, zeroLow: 1 })
    writeAll(wide, planGptq(folderSource(wide), { grid, actOrder: sorted }), rounding, at(name))
  }
  gptq('gptq', true, {})
  gptq('gptq-zeros', false, {})
  gptq('gptq-sorted', false, { sorted: true })
  for (const scheme of ['Q4_0', 'Q4_K', 'Q6_K'] as const) {
    writeAll(wide, planGguf(ggufSource(wide), { scheme, fileName: scheme }), {}, at(scheme))
  }
  wide.close()
})
afterAll(() => rmSync(folder, { recursive: true }))

let made = 0
/** Converts into a folder of its own. */
async function converted(source: string, options: Omit<ConvertOptions, 'source' | 'output'>) {
  made++
  const output = at(`result-${made}`)
  const path = source.startsWith('Q') ? join(at(source), `${source}.gguf`) : resolve(folder, source)
  const report = await convert({ source: path, output, ...options })
  return { report, output, name: `result-${made}` }
}
const fileOf = (output: string) => join(output, readdirSync(output).find((name) => name.endsWith('.gguf'))!)
const matrix = 'model.layers.0.self_attn.q_proj.weight'
const typeOf = ({ weights }: { weights: readonly { name: string; to: string }[] }, name = matrix) =>
  weights.find((weight) => weight.name === name)!.to

/** Bytes of every tensor of a folder or a file, by name. */
function tensorBytes(path: string): Map<string, string> {
  const archive = path.endsWith('.gguf') ? openGguf(path) : openSafetensors(path)
  const bytes = [...archive.tensors.keys()]
    .sort()
    .map((name) => [name, Buffer.from(archive.read(name)).toString('hex')] as const)
  archive.close()
  return new Map(bytes)
}

describe('codes go to another format and back to the very bytes:', () => {
  test.each([
    ['gptq', 'compressed-tensors'],
    ['gptq-zeros', 'compressed-tensors'],
    ['gptq-sorted', 'compressed-tensors'],
    ['gptq-zeros', 'awq'],
    ['gptq-zeros', 'gptq_v2'],
    ['gptq-sorted', 'gptq_v2'],
  ] as const)('%s through %s', async (source, format) => {
    const there = await converted(source, { target: 'transformers', format })
    expect(there.report).toMatchObject({ lossless: true, relativeError: 0, warnings: [] })
    const back = await converted(there.name, { target: 'transformers', format: 'gptq' })
    expect(back.report.lossless).toBe(true)
    expect(tensorBytes(back.output)).toEqual(tensorBytes(at(source)))
  })
  test.each(['Q4_0', 'Q4_K', 'Q6_K'])('%s through a Pare folder', async (source) => {
    const there = await converted(source, { target: 'pare', lossless: true })
    const back = await converted(there.name, { target: 'llama.cpp', lossless: true })
    expect(tensorBytes(fileOf(back.output))).toEqual(tensorBytes(join(at(source), `${source}.gguf`)))
  })
  test('a GGUF file as a GGUF file', async () => {
    const again = await converted('Q4_K', { target: 'gguf' })
    expect(tensorBytes(fileOf(again.output))).toEqual(tensorBytes(join(at('Q4_K'), 'Q4_K.gguf')))
  })
  test('Q4_0 through GPTQ of groups of 32, whose zeros are 8', async () => {
    const there = await converted('Q4_0', { target: 'gptq', lossless: false })
    expect(typeOf(there.report)).toBe('4 bits, groups of 32, symmetric')
    const back = await converted(there.name, { target: 'llama.cpp' })
    const [before, after] = [tensorBytes(join(at('Q4_0'), 'Q4_0.gguf')), tensorBytes(fileOf(back.output))]
    expect(after.get('blk.0.ffn_up.weight')).toBe(before.get('blk.0.ffn_up.weight'))
  })
})

describe('of several forms', () => {
  test('the smallest that keeps the codes is taken, and with lossless the smallest that keeps every value', async () => {
    const near = await converted('gptq-zeros', { target: 'llama.cpp' })
    expect(typeOf(near.report)).toBe('Q4_1')
    const { counts, weights } = near.report
    expect(counts).toMatchObject({ 'codes kept': 7, requantised: 0 })
    expect(Math.max(...weights.map((weight) => weight.largestInSteps ?? 0))).toBeLessThan(15 * 2 ** -11)
    const exact = await converted('gptq-zeros', { target: 'llama.cpp', lossless: true })
    expect(typeOf(exact.report)).toBe('Q5_0')
    expect(exact.report.lossless).toBe(true)
  })
  test('K types keep their codes in MLX: scales are halves, and with lossless F32', async () => {
    const near = await converted('Q4_K', { target: 'mlx' })
    expect(near.report.counts).toMatchObject({ 'codes kept': 7, requantised: 0 })
    expect(near.report.weights.every(({ largestInSteps = 0 }) => largestInSteps < 2 ** -5)).toBe(true)
    const exact = await converted('Q4_K', { target: 'mlx', lossless: true })
    expect(exact.report.lossless).toBe(true)
    expect(openSafetensorsType(exact.output, 'model.layers.0.mlp.up_proj.scales')).toBe('F32')
    expect(openSafetensorsType(near.output, 'model.layers.0.mlp.up_proj.scales')).toBe('F16')
  })
  test('what names bits that the source has keeps its codes, other bits round them again', async () => {
    const same = await converted('gptq', { target: 'mlx', bits: 4, groupSize: 32 })
    expect(same.report).toMatchObject({ lossless: true, warnings: [] })
    expect(typeOf(same.report)).toBe('4 bits, groups of 32, with offsets')
    const other = await converted('gptq', { target: 'mlx', bits: 3 })
    expect(other.report.counts.requantised).toBe(7)
    expect(other.report.warnings).toEqual([
      expect.stringMatching(/^double quantisation: 7 weights were codes/),
    ])
    expect(other.report.requantisedError).toBeGreaterThan(0.001)
    expect(other.report.requantisedError).toBeLessThan(0.1)
  })
})

const openSafetensorsType = (path: string, name: string) => {
  const archive = openSafetensors(path)
  const { type } = archive.tensors.get(name)!
  archive.close()
  return type
}

test('zeros of 0 take the second version of GPTQ, and are rounded again where the first is asked for', async () => {
  const awq = fixturePath('awq')
  const free = await converted(awq, { target: 'gptq' })
  expect(free.report).toMatchObject({ format: 'gptq_v2', lossless: true })
  expect(free.report.notes).toEqual([expect.stringMatching(/zeros of 0 need the second version of GPTQ/)])
  const config = JSON.parse(readFileSync(join(free.output, 'config.json'), 'utf8'))
  expect(config.quantization_config.checkpoint_format).toBe('gptq_v2')
  const first = await converted(awq, { target: 'gptq', format: 'gptq' })
  expect(first.report.counts.requantised).toBeGreaterThan(0)
  await expect(
    convert({ source: awq, output: at('none'), target: 'gptq', format: 'gptq', lossless: true }),
  ).rejects.toThrow(QualityError)
})
test('what the libraries ask for stands in the notes', async () => {
  const zeros = await converted('gptq-zeros', { target: 'transformers' })
  expect(zeros.report.notes).toEqual([expect.stringMatching(/dequantize=True/)])
  const sorted = await converted('gptq-sorted', { target: 'transformers' })
  expect(sorted.report.notes).toEqual([
    expect.stringMatching(/dequantize=True/),
    expect.stringMatching(/weight_g_idx/),
  ])
  const plain = await converted('gptq', { target: 'transformers' })
  expect(plain.report.notes).toEqual([])
})

describe('numbers', () => {
  test('are rounded to nearest where bits or a type are asked for, without a warning', async () => {
    const mlx = await converted('wide', { target: 'mlx', bits: 8 })
    expect(mlx.report).toMatchObject({ lossless: false, warnings: [], counts: { rounded: 7 } })
    const gguf = await converted('wide', { target: 'llama.cpp', scheme: 'Q4_K_M' })
    expect(new Set(gguf.report.weights.map(({ to }) => to))).toEqual(new Set(['Q4_K', 'Q6_K', 'F32']))
    const embedding = gguf.report.weights.find(({ role }) => role === 'embedding')!
    expect(embedding).toMatchObject({ to: 'Q6_K', carried: 'rounded' })
  })
  test.each([
    ['f32', 'F32', true],
    ['f16', 'F16', false],
    ['bf16', 'BF16', false],
  ] as const)('are what codes become with --type %s', async (type, name, exact) => {
    const { report, output } = await converted('gptq-zeros', { target: 'transformers', type })
    expect(report.lossless).toBe(exact)
    expect(report.format).toBe('float')
    expect(typeOf(report)).toBe(name)
    const config = JSON.parse(readFileSync(join(output, 'config.json'), 'utf8'))
    expect(config).toMatchObject({ torch_dtype: { f32: 'float32', f16: 'float16', bf16: 'bfloat16' }[type] })
    expect(config).not.toHaveProperty('quantization_config')
  })
  test('of a tied model stay tied in every format', async () => {
    for (const [source, target] of [
      ['gptq', 'mlx'],
      ['Q4_0', 'mlx'],
      ['gptq', 'llama.cpp'],
      ['Q4_0', 'transformers'],
    ] as const) {
      const { report, output } = await converted(source, { target })
      expect(report.weights.filter(({ role }) => role === 'head')).toEqual([])
      reopened(target === 'llama.cpp' ? fileOf(output) : output, ({ model }) => {
        expect(model.config.tied).toBe(true)
      })
    }
  })
})

test('the result computes what the source does', async () => {
  const { output } = await converted('Q4_K', { target: 'mlx', lossless: true })
  const tokens = Uint32Array.of(1, 5, 9, 30)
  const logits = (path: string) =>
    reopened(path, ({ model }) => ({ logits: numbers(model.load().forward(tokens)) })).logits
  expect(logits(output)).toEqual(logits(join(at('Q4_K'), 'Q4_K.gguf')))
})

describe('nothing is left where', () => {
  const places = () => readdirSync(folder).sort()
  test('a value would differ and every one has to stay', async () => {
    const before = places()
    const lossless = { source: join(at('Q6_K'), 'Q6_K.gguf'), output: at('none'), lossless: true } as const
    // Groups of 16 are no MLX.
    await expect(convert({ ...lossless, target: 'mlx' })).rejects.toThrow(QualityError)
    await expect(convert({ ...lossless, target: 'mlx' })).rejects.toThrow(
      /an MLX folder has no form that holds every value of model\.layers\.0\.\S+ \(Q6_K\) and 6 others/,
    )
    // That halves do not hold the values shows only when they are compared.
    await expect(convert({ ...lossless, target: 'transformers', type: 'f16' })).rejects.toMatchObject({
      code: 'PARE_E_LOSSY',
      exitCode: 4,
    })
    expect(places()).toEqual(before)
  })
  test('the source has no codes for a layout of codes', async () => {
    const before = places()
    await expect(convert({ source: at('wide'), output: at('none'), target: 'vllm' })).rejects.toMatchObject({
      code: 'PARE_E_NO_CODES',
    })
    expect(places()).toEqual(before)
  })
  test('it is stopped, at any step', async () => {
    const before = places()
    for (const phase of ['read', 'write', 'verify'] as const) {
      const stop = new AbortController()
      const progress = (event: { kind: string; phase?: string }) => {
        if (event.phase === phase) stop.abort()
      }
      const options = { source: at('gptq'), output: at('none'), target: 'mlx' } as const
      await expect(convert(options, { signal: stop.signal, progress })).rejects.toThrow(AbortError)
      expect(places()).toEqual(before)
    }
  })
})

describe('the output', () => {
  test('must be empty, also of a finished run, and is replaced where that is asked for', async () => {
    const output = at('full')
    mkdirSync(output)
    const options = { source: at('gptq'), output, target: 'pare' } as const
    await convert(options)
    expect(existsSync(join(output, 'pare.json'))).toBe(true)
    writeFileSync(join(output, 'mine'), 'text')
    await expect(convert(options)).rejects.toMatchObject({ code: 'PARE_E_OUTPUT' })
    expect(readFileSync(join(output, 'mine'), 'utf8')).toBe('text')
    const { files } = await convert({ ...options, overwrite: true })
    expect(files).not.toContain('mine')
    expect(readdirSync(folder).filter((name) => /\.part/.test(name))).toEqual([])
  })
  test('may not hold the source', async () => {
    await expect(
      convert({ source: at('gptq'), output: at('gptq'), target: 'pare', overwrite: true }),
    ).rejects.toThrow(/would be lost/)
  })
  test('has the licences and the tokenizer', async () => {
    const { report } = await converted('Q4_0', { target: 'mlx' })
    expect(report.files).toEqual(
      expect.arrayContaining([
        'config.json',
        'generation_config.json',
        'tokenizer.json',
        'tokenizer_config.json',
      ]),
    )
  })
})
