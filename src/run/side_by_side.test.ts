import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../models/load_model.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { AbortError } from '../tensor/errors.ts'
import { currentKernels, logSoftmax, scope } from '../tensor/index.ts'
import { compress } from './compress.ts'
import { residentBytes, sideBySide, tooLarge } from './side_by_side.ts'

let folder: string
let source: OpenLanguageModel
let result: OpenLanguageModel
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'side-by-side-test-'))
  const path = fixturePath('llama-f16.gguf')
  // Two bits in long groups: far enough from the source that the texts part.
  await compress({
    source: path,
    output: join(folder, 'out'),
    method: 'rtn',
    bits: 2,
    groupSize: 'row',
    evaluate: false,
  })
  source = openLanguageModel(path)
  result = openLanguageModel(join(folder, 'out'))
})
afterAll(() => {
  source.close()
  result.close()
  rmSync(folder, { recursive: true })
})

const prompts = ['the cat', 'a dog is on the', 'once upon']
const options = { prompts, tokens: 6, passage: 'the dog and the cat' }

/** Log-probabilities after every token, without a cache. */
const scoresOf = ({ model }: OpenLanguageModel, ids: Uint32Array): Float32Array[] =>
  scope(() => {
    const scores = logSoftmax(model.load().forward(ids))
    return Array.from(ids, (_, i) => Float32Array.from(scores.select(0, i).toArray(), Number))
  })
const best = (scores: Float32Array) => scores.indexOf(scores.reduce((a, b) => Math.max(a, b)))
/** Greedy text by reading everything again for every token. */
function slowly(open: OpenLanguageModel, start: Uint32Array, length: number): number[] {
  const ids = [...start]
  const ends = new Set(open.tokenizer().eosIds)
  while (ids.length < start.length + length) {
    const next = best(scoresOf(open, Uint32Array.from(ids)).at(-1)!)
    if (ends.has(next)) break
    ids.push(next)
  }
  return ids.slice(start.length)
}

test('both texts are those of reading everything again for each token, and part where those do', async () => {
  const tokenizer = source.tokenizer()
  const starts = prompts.map((prompt) => tokenizer.encode(prompt))
  const shortest = Math.min(...starts.map(({ length }) => length))
  const { samples } = await sideBySide(source, result, options)
  expect(samples).toHaveLength(3)
  let parted = 0
  for (const [i, sample] of samples.entries()) {
    const start = starts[i]!.subarray(0, shortest)
    const [own, other] = [slowly(source, start, 6), slowly(result, start, 6)]
    const text = (ids: readonly number[]) =>
      tokenizer.decode([...start, ...ids], { skipSpecialTokens: true }).slice(sample.prompt.length)
    expect([sample.prompt, sample.textSource, sample.text]).toEqual([
      tokenizer.decode(start, { skipSpecialTokens: true }),
      text(own),
      text(other),
    ])
    const token = own.findIndex((id, at) => id !== other[at])
    expect(sample.parts?.token ?? -1).toBe(token)
    if (!sample.parts) continue
    parted += 1
    expect(sample.text.slice(0, sample.parts.character)).toBe(
      sample.textSource.slice(0, sample.parts.character),
    )
    expect(sample.parts.character).toBeLessThanOrEqual(text(own.slice(0, token)).length)
  }
  expect(parted).toBeGreaterThan(0)
})
test('KL and the most likely tokens at each position are those of the definition', async () => {
  const tokenizer = source.tokenizer()
  const { parting } = await sideBySide(source, result, options)
  const ids = tokenizer.encode(options.passage)
  const [p, q] = [scoresOf(source, ids), scoresOf(result, ids)]
  expect(parting.positions).toHaveLength(ids.length)
  for (const [i, position] of parting.positions.entries()) {
    const kl = p[i]!.reduce((sum, score, v) => sum + Math.exp(score) * (score - q[i]![v]!), 0)
    expect(position.kl).toBeCloseTo(kl, 6)
    expect(position.token).toBe(tokenizer.tokenText(ids[i]!))
    expect(position.topSource).toBe(tokenizer.tokenText(best(p[i]!)))
    expect(position.top).toBe(tokenizer.tokenText(best(q[i]!)))
    expect(position.agrees).toBe(best(p[i]!) === best(q[i]!))
  }
  const first = parting.positions.findIndex(({ agrees }) => !agrees)
  expect(parting.first ?? -1).toBe(first)
})
test('a model beside itself never parts', async () => {
  const { samples, parting } = await sideBySide(source, source, options)
  for (const sample of samples) {
    expect(sample).not.toHaveProperty('parts')
    expect(sample.text).toBe(sample.textSource)
  }
  expect(parting).not.toHaveProperty('first')
  for (const { kl, agrees } of parting.positions) expect([Math.abs(kl) < 1e-6, agrees]).toEqual([true, true])
})
test('texts end at the end of the context', async () => {
  const { context } = source.model.config
  const { samples } = await sideBySide(source, source, { ...options, prompts: ['a'], tokens: 10 * context })
  expect(source.tokenizer().encode(samples[0]!.text).length).toBeLessThanOrEqual(context)
})
test('prompts without tokens are left out, and a passage without any has no positions', async () => {
  const { samples, parting } = await sideBySide(source, result, {
    prompts: ['', 'the cat', ''],
    tokens: 2,
    passage: '',
  })
  expect([samples.length, parting.positions]).toEqual([1, []])
  expect((await sideBySide(source, result, { prompts: [], passage: 'a' })).samples).toEqual([])
})
test('one model is in memory at a time, and an end in the middle leaves no tensor', async () => {
  const kernels = currentKernels()
  const { tensors, live } = kernels.memory()
  kernels.resetPeak()
  await sideBySide(source, result, options)
  expect(kernels.memory().tensors).toBe(tensors)
  // Activations of a few tokens come on top.
  expect(kernels.memory().peak - live).toBeLessThan(1.9 * residentBytes(source))
  const controller = new AbortController()
  const progress = ({ share }: { share?: number }) => {
    if (share! > 0.6) controller.abort()
  }
  await expect(
    sideBySide(source, result, { ...options, signal: controller.signal, progress: progress as never }),
  ).rejects.toThrow(AbortError)
  expect(kernels.memory().tensors).toBe(tensors)
})
test('the size of a whole model is 4 bytes a weight', () => {
  const [layer] = source.model.config.layers
  const { hidden, vocabulary, layers, headSize, tied } = source.model.config
  const { heads, kvHeads, intermediate } = layer!
  const block = hidden * headSize * (2 * heads + 2 * kvHeads) + 3 * hidden * intermediate + 2 * hidden
  expect(residentBytes(source)).toBe(
    4 * (layers.length * block + hidden + vocabulary * hidden * (tied ? 1 : 2)),
  )
})
test('a model may take 1 GiB unasked; a larger one is named with the way out', () => {
  const model = (weights: number) =>
    ({ weights: { infos: new Map([['w', { shape: [weights / 2, 2] }]]) } }) as unknown as OpenLanguageModel
  expect(tooLarge(model(2 ** 28))).toBeUndefined()
  expect(tooLarge(model(1e9))).toBe(
    'no texts side by side: the whole model needs 4.0 GB; --side-by-side writes them all the same',
  )
})
