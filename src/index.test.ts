/** The library as a program uses it: every function with the smallest call that is of use. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, expectTypeOf, test } from 'vitest'
import { writeTinyFolder, writeTinyGguf } from './cli/tiny_model.suite.ts'
import {
  AbortError,
  type CompressionPlan,
  type CompressionReport,
  type CompressOptions,
  compress,
  type Evaluation,
  evaluate,
  FormatError,
  fromRecipe,
  type Inspection,
  inspect,
  loadLanguageModel,
  loadModel,
  OptionError,
  openModel,
  type PareError,
  type PlanOptions,
  type ProgressEvent,
  plan,
  type Recipe,
  SourceError,
  scope,
  Tensor,
  tensor,
  version,
} from './index.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-api-'))
const source = join(folder, 'tiny.gguf')
beforeAll(() => {
  writeTinyGguf(source)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const brief = { samples: 4, length: 32, context: 32, windows: 2 }

test('plan tells the bytes before anything is computed', async () => {
  const { bytes, bytesSource, bitsPerWeight, tensors } = await plan({
    source,
    target: 'gguf',
    scheme: 'Q8_0',
  })
  expect(bytes).toBeLessThan(bytesSource)
  // Blocks of 32 codes of 8 bits and a half float.
  expect(bitsPerWeight).toBe(8.5)
  expect(tensors.filter(({ role }) => role === 'matrix')).toHaveLength(14)
})
test('compress writes a folder and returns its report, and tells how far it is', async () => {
  const output = join(folder, 'smaller')
  const events: ProgressEvent[] = []
  const report = await compress(
    { source, output, bits: 4, groupSize: 32, ...brief },
    { progress: (event) => events.push(event) },
  )
  expect(report.bytes).toBeLessThan(report.bytesSource)
  expect(report.kl).toBeGreaterThan(0)
  expect(
    report.layers.every(({ relativeError, relativeErrorRtn }) => relativeError < 1 && relativeErrorRtn! < 1),
  ).toBe(true)
  expect(existsSync(join(output, 'report.json'))).toBe(true)
  expect(events.find(({ kind }) => kind !== 'progress')).toMatchObject({
    kind: 'plan',
    plan: { bytes: report.bytes },
  })
  const shares = events.filter((event) => event.kind === 'progress' && event.phase === 'compress')
  expect(shares.length).toBeGreaterThan(1)
})
test('fromRecipe gives the options of a recipe or of a file, and what is said beside them wins', async () => {
  const recipe: Recipe = {
    pare: 1,
    source,
    target: 'gguf',
    steps: [{ method: 'gptq', scheme: 'Q4_0' }],
    overrides: [{ match: 'model.layers.0.*', scheme: 'Q8_0' }],
    calibration: { samples: 4, length: 32 },
    evaluation: false,
  }
  const output = join(folder, 'by-recipe')
  const { layers } = await compress({ ...fromRecipe(recipe), output })
  expect(new Set(layers.map(({ bits }) => bits))).toEqual(new Set([8.5, 4.5]))
  const file = join(folder, 'recipe.json')
  writeFileSync(file, JSON.stringify(recipe))
  const { rules } = await plan(fromRecipe(file))
  expect(rules).toMatchObject([{ rule: 'overrides[0]', match: 'model.layers.0.*', tensors: 7 }])
})
test('evaluate compares a result with its source on a text', async () => {
  const text = join(folder, 'speech.txt')
  writeFileSync(text, 'The quick brown fox jumps over the lazy dog. '.repeat(20))
  const model = join(folder, 'smaller')
  const { perplexity, kl, top1, tokens } = await evaluate({
    model,
    against: source,
    text: [text],
    context: 64,
    windows: 3,
  })
  expect(perplexity).toBeGreaterThan(1)
  expect(kl).toBeGreaterThan(0)
  expect(top1).toBeLessThanOrEqual(1)
  expect(tokens).toBe(3 * 63)
})
test('inspect lists a file', () => {
  const { format, tensors, supported } = inspect(source)
  expect([format, supported]).toEqual(['gguf', 'a llama model of 2 blocks'])
  expect(tensors).toContainEqual({
    name: 'blk.0.attn_q.weight',
    type: 'F16',
    shape: [64, 64],
    bytes: 8192,
    bits: 16,
  })
})
test('loadLanguageModel opens a path, with its tokenizer, its weights and a forward pass', async () => {
  const opened = await loadLanguageModel(source)
  try {
    const ids = opened.tokenizer().encode('then')
    expect(opened.tokenizer().decode(ids)).toBe('then')
    expect(opened.tokenizer()).toBe(opened.tokenizer())
    scope(() => {
      const weight = opened.weights.load('model.layers.0.self_attn.q_proj.weight')
      expect([weight.shape, weight.dtype]).toEqual([[64, 64], 'f32'])
      const logits = opened.model.load().forward(ids) // [batch, tokens, vocabulary]
      expect(logits.shape.at(-2)).toBe(ids.length)
      expect(logits.shape.at(-1)).toBe(opened.model.config.vocabulary)
      expect(Number.isFinite(logits.sum().item())).toBe(true)
    })
    expect(opened.resolved).toMatchObject({ kind: 'path', name: 'tiny' })
  } finally {
    opened.close()
  }
})
test('openModel tells the formats apart', async () => {
  const huggingFace = writeTinyFolder(join(folder, 'hf'))
  await compress({ source, output: join(folder, 'gptq'), target: 'gptq', method: 'rtn', evaluate: false })
  for (const [path, format] of [
    [source, 'gguf'],
    [huggingFace, 'huggingface'],
    [join(folder, 'gptq'), 'gptq'],
    [join(folder, 'smaller'), 'pare'],
  ]) {
    const model = openModel(path!)
    expect(model.format).toBe(format)
    model.close()
  }
})
test('a signal stops a job, and nothing stands at the output', async () => {
  const output = join(folder, 'stopped')
  const stop = new AbortController()
  const job = compress(
    { source, output, ...brief },
    { signal: stop.signal, progress: ({ kind }) => kind === 'progress' && stop.abort() },
  )
  await expect(job).rejects.toThrow(AbortError)
  expect(existsSync(output)).toBe(false)
  await expect(loadModel(source, { signal: stop.signal })).rejects.toThrow(AbortError)
})
/** Whether four numbers rise. */

test('errors are typed, have a stable code and facts', async () => {
  const wrong = { source, output: join(folder, 'never') }
  for (const options of [
    { target: 'gguf', bits: 3 },
    { target: 'gptq', scheme: 'Q4_K' },
    { method: 'nearest' },
    { target: 'tflite' },
    { bits: 5 },
    { bits: Number.NaN },
    { groupSize: 0 },
    { seed: 0.5 },
    { samples: 0 },
    { length: -1 },
    { context: 1 },
    { windows: 0 },
    { every: 0.5 },
    { damping: -1 },
    { damping: Number.NaN },
    { onSingular: 'ignore' },
    { source: 17 },
    { output: undefined },
    { output: '' },
  ]) {
    const error = await compress({ ...wrong, ...options } as CompressOptions).catch(
      (reason: unknown) => reason,
    )
    expect(error, JSON.stringify(options)).toBeInstanceOf(OptionError)
    expect((error as PareError).exitCode).toBe(2)
  }
  expect(existsSync(wrong.output)).toBe(false)
  expect(() => openModel(join(folder, 'missing'))).toThrow(SourceError)
  expect(() => inspect(join(folder, 'missing'))).toThrow(SourceError)
  writeFileSync(join(folder, 'text.gguf'), 'hello')
  await expect(plan({ source: join(folder, 'text.gguf') })).rejects.toThrow(FormatError)
  await expect(evaluate({ model: source, context: 0 })).rejects.toThrow(OptionError)
})
test('tensors are at hand for what models and weights give', () => {
  scope(() => {
    const x = tensor([1, 2, 3, 4], [2, 2])
    expect(x).toBeInstanceOf(Tensor)
    expect(x.add(x).toArray()).toEqual(Float32Array.of(2, 4, 6, 8))
  })
  expect(version).toMatch(/^\d+\.\d+\.\d+/)
})
test('options and results have the types that are documented', () => {
  expectTypeOf(plan).parameter(0).toEqualTypeOf<PlanOptions>()
  expectTypeOf(plan).returns.resolves.toEqualTypeOf<CompressionPlan>()
  expectTypeOf(compress).parameter(0).toEqualTypeOf<CompressOptions>()
  expectTypeOf(compress).returns.resolves.toEqualTypeOf<CompressionReport>()
  expectTypeOf(evaluate).returns.resolves.toEqualTypeOf<Evaluation>()
  expectTypeOf(inspect).returns.toEqualTypeOf<Inspection>()
  expectTypeOf<CompressionReport>().toHaveProperty('klStandardError').toEqualTypeOf<number | undefined>()
  expectTypeOf<CompressOptions['target']>().toEqualTypeOf<
    | 'gguf'
    | 'gptq'
    | 'pare'
    | 'vllm'
    | 'llama.cpp'
    | 'transformers'
    | 'mlx'
    | 'transformers.js'
    | 'onnx'
    | undefined
  >()
})
