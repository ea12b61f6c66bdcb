/** Texts that a model with packed weights writes. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openLanguageModel } from '../models/load_model.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { planGguf } from '../models/write/gguf_target.ts'
import { writeAll } from '../models/write/sources.suite.ts'
import { ggufSource } from '../models/write/target.ts'
import { openSmall, withGenerator, written } from './small_generator.suite.ts'

let folder: string
let open: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'packed-generator-test-'))
  const small = openSmall()
  writeAll(small, planGguf(ggufSource(small), { scheme: 'Q4_0', fileName: 'small' }), {}, folder)
  small.close()
  open = openLanguageModel(join(folder, readdirSync(folder)[0]!))
})
afterAll(() => {
  open.close()
  rmSync(folder, { recursive: true })
})

const prompts = Array.from({ length: 18 }, (_, i) => `${'There she blows! '.repeat(i % 7)}The whale ${i}`)
const requests = () =>
  prompts.map((text, i) => ({
    prompt: open.tokenizer().encode(text),
    ...{ maxTokens: 6 + (i % 5), seed: i, ignoreEnd: true, logprobs: 2, promptLogprobs: i % 3 === 0 },
  }))

test.each(['f32', 'int8'] as const)(
  'with inputs in %s, 18 texts at once are to the last bit of a chance what each is alone',
  async (packed) => {
    const alone: unknown[] = []
    await withGenerator(open, { packed, slots: 1, pieceTokens: 24 }, async (generator) => {
      for (const request of requests()) alone.push(await written(generator, request))
    })
    await withGenerator(open, { packed, slots: 18, pieceTokens: 24 }, async (generator) => {
      expect(await Promise.all(requests().map((request) => written(generator, request)))).toEqual(alone)
    })
  },
)
test('with floats as inputs the text is that of the numbers in memory', async () => {
  const [request] = requests()
  const greedy = { ...request!, temperature: 0, maxTokens: 24 }
  const texts = []
  for (const packed of [false, 'f32'] as const)
    texts.push(
      await withGenerator(open, { packed }, async (generator) => (await written(generator, greedy)).tokens),
    )
  expect(texts[1]).toEqual(texts[0])
})
test('packed weights in bf16 are refused', async () => {
  await expect(withGenerator(open, { packed: 'f32', dtype: 'bf16' }, async () => {})).rejects.toThrow(
    /packed: needs .*dtype of f32/,
  )
})
