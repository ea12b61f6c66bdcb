/** `pare eval`: which tokens are scored. In the tiny vocabulary every digit is one token. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { encoderPath } from '../models/bert/fixtures.suite.ts'
import type { Evaluation } from '../run/evaluate.ts'
import { jsonError, pare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyFolder, writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const model = join(folder, 'tiny.gguf')
beforeAll(() => {
  writeTinyGguf(model)
})

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}
function evaluation(args: readonly string[]): Evaluation {
  const { code, stdout, stderr } = pare(['eval', model, ...args, '--json'])
  expect(code, stderr).toBe(0)
  return JSON.parse(stdout)
}
/** Digits without a period that windows could share: a linear congruential sequence. */
const digits = Array.from({ length: 600 }).reduce<{ text: string; state: number }>(
  ({ text, state }) => ({ text: `${text}${(state >> 8) % 10}`, state: (state * 1103 + 12345) % 65536 }),
  { text: '', state: 1 },
).text
const windowAt = (index: number) => digits.slice(32 * index, 32 * index + 32)

test('windows are taken at 0, every, 2 every ..., and their means are averaged', () => {
  const all = evaluation(['--text', file('all', digits), '--context', '32', '--windows', '3', '--every', '5'])
  const alone = [0, 5, 10].map((index) =>
    evaluation(['--text', file(`w${index}`, windowAt(index)), '--context', '32', '--windows', '1']),
  )
  const mean = alone.reduce((sum, { perplexity }) => sum + Math.log(perplexity), 0) / 3
  // Three windows of 31 logarithms in f32, in the same order.
  expect(Math.log(all.perplexity)).toBeCloseTo(mean, 9)
  expect(all.tokens).toBe(3 * 31)
  expect(new Set(alone.map(({ perplexity }) => perplexity)).size).toBe(3)
})
test('files are joined by two newlines, in the order given', () => {
  const [a, b] = [file('a', digits.slice(0, 10)), file('b', digits.slice(10, 30))]
  const joined = evaluation(['--text', a, b, '--context', '32', '--windows', '1'])
  const one = evaluation([
    '--text',
    file('ab', `${digits.slice(0, 10)}\n\n${digits.slice(10, 30)}`),
    '--context',
    '32',
    '--windows',
    '1',
  ])
  const other = evaluation(['--text', b, a, '--context', '32', '--windows', '1'])
  expect(joined.perplexity).toBe(one.perplexity)
  expect(joined.perplexity).not.toBe(other.perplexity)
})
test('a model against itself has a KL of 0 and always the same top token', () => {
  const result = evaluation([
    '--text',
    file('self', digits),
    '--context',
    '32',
    '--windows',
    '4',
    '--against',
    model,
  ])
  expect(result).toMatchObject({ kl: 0, klStandardError: 0, top1: 1, protocol: '32/nonoverlap', tokens: 124 })
  expect(result.perplexity).toBe(result.perplexitySource)
})
test("llama.cpp's protocol scores the second half of each window", () => {
  const result = evaluation([
    '--text',
    file('half', digits),
    '--context',
    '32',
    '--windows',
    '4',
    '--protocol',
    'llama.cpp',
  ])
  expect(result).toMatchObject({ protocol: 'llama.cpp/32', tokens: 4 * 15 })
})
test('the defaults are windows of 512 tokens, 20 of them, every one', () => {
  const text = file('long', digits.repeat(20))
  const result = evaluation(['--text', text])
  expect(result).toMatchObject({ protocol: '512/nonoverlap', tokens: 20 * 511, notes: [] })
  expect(result.perplexity).toBe(
    evaluation(['--text', text, '--context', '512', '--windows', '20', '--every', '1']).perplexity,
  )
})
test('models with different vocabularies cannot be compared', () => {
  const other = writeTinyFolder(join(folder, 'other'), { extraTokens: ['zz'] })
  const outcome = pare(['eval', model, '--against', other, '--json'])
  expect([outcome.code, jsonError(outcome).code]).toEqual([2, 'PARE_E_TOKENIZERS_DIFFER'])
})

test('a text encoder has a cosine to its source, also as JSON, and alone is refused', () => {
  const source = encoderPath('bert-sentence')
  const rounded = join(folder, 'rounded')
  const { code: wrote, stderr: said } = pare([
    'convert',
    source,
    '--target',
    'onnx',
    '--bits',
    '4',
    '--group-size',
    '16',
    '--output',
    rounded,
  ])
  expect(wrote, said).toBe(0)
  const text = file('words', 'a cat sat on the mat '.repeat(40))
  const given = ['eval', rounded, '--against', source, '--text', text, '--windows', '2']
  const { code, stdout, stderr } = pare(given)
  expect(code, stderr).toBe(0)
  const [, mean, least] = /^cosine {6}mean (0\.\d{6}), least (0\.\d{6}), 2 passages$/m.exec(stdout)!
  const found = JSON.parse(pare([...given, '--json']).stdout)
  expect([found.meanCosine.toFixed(6), found.leastCosine.toFixed(6)]).toEqual([mean, least])
  expect(found).toMatchObject({ model: rounded, against: source, texts: 2 })
  const alone = pare(['eval', source, '--json'])
  expect(alone.code).toBe(2)
  expect(jsonError(alone)).toMatchObject({ code: 'PARE_E_NO_AGAINST' })
})
