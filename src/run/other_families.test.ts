/** Models that Pare computes and does not compress yet: every job says so before it begins. */
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
  ['plan', () => plan({ source, method: 'rtn' })],
  ['compress', () => compress({ source, output, method: 'rtn' })],
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
test('inspect says that it is computed and why it is not compressed', () => {
  const { supported, reason, tensors } = inspect(source)
  expect(supported).toBe('a bert model of 2 blocks')
  expect(reason).toMatch(/bert text encoder/)
  expect(tensors.map(({ name }) => name)).toContain('encoder.layer.1.output.dense.weight')
})
