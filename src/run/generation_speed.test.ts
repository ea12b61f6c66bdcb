import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openEncoder } from '../models/bert/fixtures.suite.ts'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../models/load_model.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { planGguf } from '../models/write/gguf_target.ts'
import { writeAll } from '../models/write/sources.suite.ts'
import { ggufSource } from '../models/write/target.ts'
import { AbortError } from '../tensor/errors.ts'
import { currentKernels } from '../tensor/index.ts'
import { generationSpeed, measuresSpeed, unmeasured } from './generation_speed.ts'
import type { ProgressEvent } from './progress.ts'

let folder: string
let source: OpenLanguageModel
let result: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'generation-speed-test-'))
  source = openLanguageModel(fixturePath('llama-f16.gguf'))
  writeAll(source, planGguf(ggufSource(source), { scheme: 'Q8_0', fileName: 'small' }), {}, folder)
  result = openLanguageModel(join(folder, readdirSync(folder)[0]!))
})
afterAll(() => {
  source.close()
  result.close()
  rmSync(folder, { recursive: true })
})

/** Numbers of all weights that a token meets as a whole. */
const numbersOf = ({ model, weights }: OpenLanguageModel) =>
  [...weights.infos.values()]
    .filter(({ name }) => model.config.tied || name !== 'model.embed_tokens.weight')
    .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)

test('source and result have rates, each in the form that products read', async () => {
  const before = currentKernels().memory().tensors
  const speed = (await generationSpeed(source, result))!
  expect(speed.machine).toMatch(/ cores, \d+ GiB, .*, Node [\d.]+, .*; \d+ threads$/)
  expect(speed.prompt + speed.written).toBeLessThan(source.model.config.context)
  expect(speed.source).toMatchObject({ form: 'decoded to floats', packed: 0, headPacked: false })
  expect(speed.result).toMatchObject({ form: 'packed int8', packed: 1 })
  for (const { prefill, decode, least } of [speed.source, speed.result]) {
    expect(least.prefill).toBeGreaterThan(0)
    expect(prefill).toBeGreaterThanOrEqual(least.prefill)
    expect(least.decode).toBeGreaterThan(0)
    expect(decode).toBeGreaterThanOrEqual(least.decode)
  }
  expect(speed).not.toHaveProperty('pruned')
  expect(currentKernels().memory().tensors).toBe(before)
})
test('a token reads four bytes a weight in f32, and those of the file where they stay packed', async () => {
  const speed = (await generationSpeed(source, result, { pruned: true }))!
  expect(speed.pruned).toBe(true)
  const { config } = source.model
  const row = (open: OpenLanguageModel) =>
    config.tied ? 0 : open.weights.infos.get('model.embed_tokens.weight')!.bytes / config.vocabulary
  expect(speed.source.weightBytes).toBe(4 * numbersOf(source) + Math.ceil(row(source)))
  const held = [...result.weights.infos.values()].filter(
    ({ name }) => config.tied || name !== 'model.embed_tokens.weight',
  )
  const packed = held.reduce(
    (sum, { shape, type, bytes }) => sum + (type === 'Q8_0' ? bytes : 4 * shape.reduce((a, b) => a * b, 1)),
    0,
  )
  expect(speed.result.weightBytes).toBe(packed + Math.ceil(row(result)))
  const keys = config.layers.reduce((sum, { kvHeads }) => sum + kvHeads * config.headSize, 0)
  expect(speed.result.contextBytes).toBe(2 * 4 * keys)
})
test('it is one phase of progress, and a signal stops it without tensors left', async () => {
  const before = currentKernels().memory().tensors
  const controller = new AbortController()
  const progress = (event: ProgressEvent) => {
    if (event.kind === 'progress' && event.share >= 0.2) controller.abort()
    expect(event).toMatchObject({ kind: 'progress', phase: 'speed' })
  }
  await expect(
    generationSpeed(source, result, { signal: controller.signal, progress }),
  ).rejects.toBeInstanceOf(AbortError)
  expect(currentKernels().memory().tensors).toBe(before)
})
test('it is measured where it was asked for, else with texts side by side, and never without an evaluation', () => {
  const measured = (speed?: boolean, sideBySide?: boolean, evaluate = true) =>
    measuresSpeed({ evaluate, speed, sideBySide }, source)
  expect([measured(), measured(undefined, true), measured(true, false)]).toEqual([true, true, true])
  expect([measured(undefined, false), measured(false, true), measured(true, true, false)]).toEqual([
    ...[false, false, false],
  ])
  const encoder = openEncoder('bert-sentence')
  expect(measuresSpeed({ evaluate: true, speed: true, sideBySide: undefined }, encoder)).toBe(false)
  encoder.close()
})
test('of a large model the report says why there is no speed, unless something was said about it', () => {
  const infos = new Map([['w', { name: 'w', shape: [2 ** 15, 2 ** 15], type: 'F16', bytes: 2 ** 31 }]])
  const large = { ...source, weights: { ...source.weights, infos } }
  const reason = (speed?: boolean) => unmeasured({ evaluate: true, speed, sideBySide: undefined }, large)
  expect(reason()).toMatch(/^speed is not measured: .*--speed/)
  expect([reason(true), reason(false)]).toEqual([undefined, undefined])
  expect(measuresSpeed({ evaluate: true, speed: undefined, sideBySide: undefined }, large)).toBe(false)
})
