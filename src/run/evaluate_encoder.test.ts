/** Text encoders against their sources. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { asset } from '../formats/tokenizer/assets.suite.ts'
import { encoderPath } from '../models/bert/fixtures.suite.ts'
import { embedTexts } from '../models/bert/sentence_encoder.ts'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { openModel } from '../models/load_model.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { convert } from './convert/convert.ts'
import { evaluateEncoder } from './evaluate_encoder.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-encoder-evaluation-'))
afterAll(() => rmSync(folder, { recursive: true }))
const source = encoderPath('bert-sentence')
const rounded = join(folder, 'rounded')
const text = join(folder, 'text.txt')
const words = Array.from({ length: 180 }, (_, i) => ['a cat', 'sat', 'on', 'the mat', 'dogs'][(i * i) % 5]!)
beforeAll(async () => {
  writeFileSync(text, words.join(' '))
  await convert({ source, output: rounded, target: 'onnx', bits: 4, groupSize: 16 })
})

function vectorsOf(path: string, texts: readonly string[]): Float32Array[] {
  const open = openModel(path)
  try {
    return embedTexts(open, texts)
  } finally {
    open.close()
  }
}

test('the cosines are those of the vectors of passages that are cut by hand', async () => {
  const all = words.join(' ').split(' ')
  // Three passages of 60 words, which begin at thirds of the text.
  const starts = [0, Math.floor(all.length / 3), Math.floor((2 * all.length) / 3)]
  const texts = starts.map((start) => all.slice(start, start + 60).join(' '))
  const [before, after] = [vectorsOf(source, texts), vectorsOf(rounded, texts)]
  const sum = (a: Float32Array, b: Float32Array) => a.reduce((total, x, i) => total + x * b[i]!, 0)
  const cosines = before.map((a, i) => sum(a, after[i]!) / Math.sqrt(sum(a, a) * sum(after[i]!, after[i]!)))
  const found = await evaluateEncoder({ model: rounded, against: source, text: [text], windows: 3 })
  // Sums of f64 in the order above.
  expect(found.meanCosine).toBeCloseTo((cosines[0]! + cosines[1]! + cosines[2]!) / 3, 12)
  expect(found.leastCosine).toBeCloseTo(Math.min(...cosines), 12)
  expect(found.leastCosine).toBeLessThan(0.99999)
  expect(found).toMatchObject({ model: rounded, against: source, texts: 3, notes: [] })
})
test('an encoder against itself has a cosine of 1, and a short text says how little it holds', async () => {
  const found = await evaluateEncoder({ model: source, against: source, text: [text] })
  expect(found.leastCosine).toBeCloseTo(1, 12)
  expect(found.notes).toEqual([expect.stringMatching(/the text holds \d of the 20 passages/)])
})

test.each([
  ['alone', {}, /a text encoder has no perplexity, .*name its source with --against/],
  [
    'against a language model',
    { against: fixturePath('llama-f16.gguf') },
    /a text encoder \(bert\) is needed to embed texts, this is a llama/,
  ],
  ['in windows of tokens', { against: source, context: 64 }, /--context: is for windows of tokens/],
  ['by a protocol', { against: source, protocol: 'llama.cpp' }, /--protocol: is for windows/],
  ['on no passage', { against: source, windows: 0 }, /--windows: a whole number from 1 on/],
] as const)('%s is refused with the way out', async (_, options, message) => {
  const run = evaluateEncoder({ model: source, text: [text], ...options })
  await expect(run).rejects.toThrow(OptionError)
  await expect(run).rejects.toThrow(message)
})
test('it stops where it is told to', async () => {
  const stop = new AbortController()
  const progress = ({ kind }: { kind: string }) => kind === 'progress' && stop.abort()
  const run = evaluateEncoder(
    { model: source, against: source, text: [text] },
    { signal: stop.signal, progress },
  )
  await expect(run).rejects.toThrow(AbortError)
})

const minilm = asset('models/minilm')
test.skipIf(!minilm)('MiniLM in f16 has the vectors of MiniLM (needs PARE_ASSETS)', async () => {
  const output = join(folder, 'minilm-f16')
  await convert({ source: minilm!, output, target: 'onnx', type: 'f16' })
  const { leastCosine, texts } = await evaluateEncoder({ model: output, against: minilm!, windows: 4 })
  expect(texts).toBe(4)
  expect(leastCosine).toBeGreaterThan(0.99999)
  expect(leastCosine).toBeLessThanOrEqual(1 + 1e-12)
})
test.skipIf(!minilm)('vectors of two widths are refused (needs PARE_ASSETS)', async () => {
  await expect(evaluateEncoder({ model: source, against: minilm! })).rejects.toMatchObject({
    code: 'PARE_E_VECTOR_WIDTHS',
    facts: { width: 24, widthAgainst: 384 },
  })
})
