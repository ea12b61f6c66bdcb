/** Jobs that only language models have: every one says so before it begins. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { encoderPath } from '../models/bert/fixtures.suite.ts'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { OptionError } from '../tensor/errors.ts'
import { compress } from './compress.ts'
import { evaluate } from './evaluate.ts'
import { inspect } from './inspect.ts'
import { plan } from './plan.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-families-'))
afterAll(() => rmSync(folder, { recursive: true }))
const source = encoderPath('bert-sentence')
const output = join(folder, 'out')

test.each([
  ['eval', () => evaluate({ model: source })],
  ['eval against it', () => evaluate({ model: fixturePath('llama-f16.gguf'), against: source })],
])('%s of a text encoder is refused with what is supported, and nothing is written', async (_, run) => {
  const error = await run().then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(OptionError)
  expect(error).toMatchObject({ code: 'PARE_E_NO_LANGUAGE_MODEL', facts: { family: 'bert' } })
  expect((error as Error).message).toMatch(/language model \(llama, mistral, qwen2\) .* bert text encoder/)
  expect(existsSync(output)).toBe(false)
})
test.each([
  ['a format without encoders', { target: 'gguf' }, /--target gguf: holds language models/],
  ['a format of checkpoints', { target: 'gptq' }, /--target gptq: holds language models/],
  ['a size', { limits: { targetSize: 50_000 } }, /--target-size, --target-bpw: widths are chosen/],
  ['a KL', { limits: { maxKl: 1 } }, /--max-kl: logits have a KL/],
  ['speed', { speed: true }, /--speed: language models write tokens/],
  ['prompts', { sideBySide: true }, /--side-by-side: language models continue prompts/],
] as const)(
  'compressing a text encoder with %s is refused, and so is its plan',
  async (_, options, message) => {
    await expect(compress({ source, output, ...options })).rejects.toThrow(message)
    await expect(plan({ source, ...options })).rejects.toThrow(message)
    await expect(plan({ source, ...options })).rejects.toBeInstanceOf(OptionError)
    expect(existsSync(output)).toBe(false)
  },
)
test('inspect says that it is computed, that it is compressed, and why it does not generate', () => {
  const { supported, reason, tensors, support } = inspect(source)
  expect(supported).toBe('a bert model of 2 blocks')
  expect(reason).toBeUndefined()
  expect(support.find(({ step }) => step === 'generate')!.reason).toMatch(/bert text encoder/)
  expect(tensors.map(({ name }) => name)).toContain('encoder.layer.1.output.dense.weight')
})
