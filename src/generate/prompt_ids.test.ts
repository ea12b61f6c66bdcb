import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { loadTokenizer } from '../formats/tokenizer/tokenizer.ts'
import { PART, promptIds } from './prompt_ids.ts'

const tokenizer = loadTokenizer(fileURLToPath(new URL('../../experiments/models/pare-4m', import.meta.url)))
const options = { tokenizer, context: 1 << 20, addSpecialTokens: false }
/** Some two and a half parts. */
const long = 'the whale said that it was eight o’clock in the morning, and dived\n'.repeat(2500)

test('a text that fits one part has the ids of the tokenizer', async () => {
  const { ids, more } = await promptIds('Once upon a time', options)
  expect(more).toBe(false)
  expect(ids).toEqual(tokenizer.encode('Once upon a time', { addSpecialTokens: false }))
})

test('a text of several parts has the ids that it has as one, with its special tokens', async () => {
  expect(long.length).toBeGreaterThan(2 * PART)
  for (const addSpecialTokens of [false, true]) {
    const { ids, more } = await promptIds(long, { ...options, addSpecialTokens })
    expect(more).toBe(false)
    expect(ids).toEqual(tokenizer.encode(long, { addSpecialTokens }))
  }
})

test('a text past the context is read no further than that takes', async () => {
  const text = long.repeat(2)
  const { ids, more } = await promptIds(text, { ...options, context: 100 })
  const all = tokenizer.encode(text, { addSpecialTokens: false })
  expect(more).toBe(true)
  expect(ids.length).toBeGreaterThan(100)
  expect(ids.length).toBeLessThan(all.length / 2)
  expect(ids).toEqual(all.subarray(0, ids.length))
})

test('others run between two parts, and a signal stops what is left', async () => {
  const stop = new AbortController()
  setImmediate(() => stop.abort())
  await expect(promptIds(long, { ...options, signal: stop.signal })).rejects.toMatchObject({
    name: 'AbortError',
  })
})

test('a text without a place to cut is refused', async () => {
  const run = 'a'.repeat(4 * PART)
  await expect(promptIds(run, { ...options, context: 100 })).rejects.toMatchObject({
    code: 'PARE_E_TEXT_PIECE',
  })
})
