import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { distance, expectedOf, fixturePath, numbers } from '../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../models/load_model.ts'
import { reopened, writeWideModel } from '../models/write/sources.suite.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { currentKernels } from '../tensor/index.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import { compressions } from './compressions.suite.ts'
import { plan } from './plan.ts'
import type { ProgressEvent } from './progress.ts'

const { folder, options } = compressions()
beforeAll(() => {
  writeWideModel(join(folder, 'wide'))
})

const weightBytes = (output: string) =>
  readdirSync(output)
    .filter((name) => /\.(gguf|safetensors)$/.test(name))
    .reduce((sum, name) => sum + statSync(join(output, name)).size, 0)
const modelAt = (output: string) => {
  const file = readdirSync(output).find((name) => name.endsWith('.gguf'))
  return file ? join(output, file) : output
}

const kinds: [string, Partial<CompressOptions>][] = [
  ['GGUF, Q8_0', { target: 'gguf', scheme: 'Q8_0' }],
  ['GGUF, IQ4_NL', { target: 'gguf', scheme: 'IQ4_NL' }],
  ['Pare, 3 bits', { target: 'pare', bits: 3, groupSize: 16 }],
  ['Pare, act-order', { target: 'pare', bits: 4, groupSize: 10, actOrder: true }],
]
describe.each(['rtn', 'gptq'] as const)('%s', (method) => {
  test.each(kinds.filter(([, { actOrder }]) => method === 'gptq' || !actOrder))(
    '%s: the report, the plan and the files agree',
    async (_, kind) => {
      const asked = options({ method, ...kind })
      const planned = await plan(asked)
      const report = await compress(asked)
      expect(report.bytes).toBe(planned.bytes)
      expect(weightBytes(asked.output)).toBe(planned.bytes)
      expect(report.files).toEqual(readdirSync(asked.output).sort())
      expect(JSON.parse(readFileSync(join(asked.output, 'report.json'), 'utf8'))).toEqual(
        JSON.parse(JSON.stringify(report)),
      )
      expect(report.layers).toHaveLength(14)
      expect(report.tokens).toBe(2 * 63)
      for (const value of [report.perplexity, report.perplexitySource, report.kl])
        expect(value).toBeGreaterThan(0)
      for (const layer of report.layers) {
        expect(layer.relativeError).toBeGreaterThan(0)
        expect(layer.relativeError).toBeLessThan(0.1)
      }
      expect(report.calibration?.tokens).toBe(method === 'rtn' ? undefined : 256)
    },
  )
})

test('GPTQ checkpoints of a folder with rows of 256 are written, with an error below that of rounding', async () => {
  const asked = options({
    source: join(folder, 'wide'),
    target: 'gptq',
    bits: 3,
    groupSize: 32,
    samples: 8,
    length: 64,
    context: 128,
    windows: 1,
  })
  const report = await compress(asked)
  expect(weightBytes(asked.output)).toBe((await plan(asked)).bytes)
  const mean = (of: (layer: (typeof report.layers)[number]) => number) =>
    report.layers.reduce((sum, layer) => sum + of(layer), 0)
  expect(mean((layer) => layer.relativeError)).toBeLessThan(0.95 * mean((layer) => layer.relativeErrorRtn!))
  reopened(asked.output, ({ format, model }) => {
    expect(format).toBe('gptq')
    expect(numbers(model.load().forward(Uint32Array.of(3, 4, 5))).every(Number.isFinite)).toBe(true)
  })
})

test.each(['llama-tied', 'smollm', 'qwen2', 'mistral'] as const)(
  'rtn needs no text: %s, which has no tokenizer, goes to 8 bits nearly unchanged',
  async (name) => {
    const asked = options({
      source: fixturePath(name),
      method: 'rtn',
      target: 'pare',
      bits: 8,
      groupSize: 8,
      evaluate: false,
    })
    const report = await compress(asked)
    expect([report.perplexity, report.calibration]).toEqual([undefined, undefined])
    const { tokens, logits } = expectedOf(name)
    reopened(asked.output, ({ model }) => {
      expect(distance(numbers(model.load().forward(tokens)), logits)).toBeLessThan(0.05)
    })
  },
)

test('the same options give the same bytes', async () => {
  const [first, second] = [options({ target: 'pare', bits: 3 }), options({ target: 'pare', bits: 3 })]
  for (const asked of [first, second]) await compress({ ...asked, evaluate: false })
  const bytes = ({ output }: CompressOptions) => readFileSync(join(output, 'model.safetensors'))
  expect(bytes(first).equals(bytes(second))).toBe(true)
  const other = options({ target: 'pare', bits: 3, seed: 1, samples: 2 })
  await compress({ ...other, evaluate: false })
  expect(bytes(other).equals(bytes(first))).toBe(false)
})

test('weights of a stage that all see dense inputs differ from those that see compressed ones', async () => {
  const [ordered, whole] = [
    options({ bits: 2, groupSize: 16, evaluate: false }),
    options({ bits: 2, groupSize: 16, evaluate: false, trueSequential: false }),
  ]
  for (const asked of [ordered, whole]) await compress(asked)
  const load = ({ output }: CompressOptions, part: string) =>
    reopened(output, ({ weights }) => numbers(weights.load(`model.layers.0.${part}.weight`)))
  // The first group sees the same inputs either way.
  expect(load(whole, 'self_attn.q_proj')).toEqual(load(ordered, 'self_attn.q_proj'))
  expect(load(whole, 'mlp.down_proj')).not.toEqual(load(ordered, 'mlp.down_proj'))
})

test('a result is a source again', async () => {
  const first = options({ target: 'gguf', scheme: 'Q8_0', evaluate: false })
  await compress(first)
  const second = options({
    source: modelAt(first.output),
    target: 'pare',
    bits: 4,
    groupSize: 32,
    evaluate: false,
  })
  await compress(second)
  const open = openLanguageModel(second.output)
  expect([...open.tokenizer().encode('the cat')]).toEqual([
    ...openLanguageModel(fixturePath('llama-f16.gguf')).tokenizer().encode('the cat'),
  ])
  open.close()
})

describe('what stands at the output', () => {
  const hidden = () => readdirSync(folder).filter((name) => name.startsWith('.'))

  test('no result before all of it does: an abort leaves at most what the run goes on with, and no tensor', async () => {
    const before = currentKernels().memory().tensors
    for (const phase of ['compress', 'write', 'evaluate', 'sample']) {
      const asked = options({ target: 'pare' })
      const controller = new AbortController()
      const progress = (event: ProgressEvent) => {
        if (event.kind === 'progress' && event.phase === phase) controller.abort()
      }
      await expect(compress(asked, { signal: controller.signal, progress }), phase).rejects.toThrow(
        AbortError,
      )
      // In the first phase nothing is finished yet.
      if (phase === 'compress') expect(existsSync(asked.output)).toBe(false)
      else expect(readdirSync(asked.output)).toEqual(['.pare'])
      expect(hidden()).toEqual([])
      expect(currentKernels().memory().tensors, phase).toBe(before)
    }
  })
  test('a folder that is not empty is refused before anything is read, and replaced where that is asked for', async () => {
    const asked = options({ method: 'rtn', target: 'pare', evaluate: false })
    mkdirSync(asked.output)
    const mine = join(asked.output, 'mine.txt')
    writeFileSync(mine, 'mine')
    await expect(compress({ ...asked, source: 'missing' })).rejects.toThrow(/--overwrite/)
    expect(existsSync(mine)).toBe(true)
    await compress({ ...asked, overwrite: true })
    expect(existsSync(mine)).toBe(false)
    // Beside a finished run too.
    writeFileSync(mine, 'mine')
    await expect(compress({ ...asked, bits: 8 })).rejects.toThrow(/--overwrite/)
    expect(existsSync(mine)).toBe(true)
    await compress({ ...asked, bits: 8, overwrite: true })
    expect(existsSync(mine)).toBe(false)
    expect(hidden()).toEqual([])
  })
  test.each([
    [{ method: 'gptqq' as never }, /--method/],
    [{ target: 'tflite' as never }, /--target/],
    [{ bits: 5 }, /--bits/],
    [{ groupSize: 0 }, /--group-size/],
    [{ target: 'gguf' as const, bits: 3 }, /--bits: .*Q3_K|--scheme/],
    [{ target: 'gguf' as const, groupSize: 64 }, /--group-size/],
    [{ scheme: 'Q4_K' }, /--scheme/],
    [{ method: 'rtn' as const, actOrder: true }, /--act-order/],
    [{ seed: -1 }, /--seed/],
    [{ target: 'gptq' as const, embedding: 'F16' }, /--embedding/],
    [{ damping: 0 }, /damping/],
    [{ samples: 0 }, /--samples/],
    [{ length: 100_000 }, /--length/],
    [{ context: 1 }, /--context/],
  ])('options that cannot be make nothing: %o', async (wrong, message) => {
    const asked = options({ target: 'pare', ...wrong })
    await expect(compress(asked)).rejects.toThrow(OptionError)
    await expect(compress(asked)).rejects.toThrow(message)
    expect([existsSync(asked.output), hidden()]).toEqual([false, []])
  })
})
