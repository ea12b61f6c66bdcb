import { describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { ask, listenScript, serveScript } from './served.suite.ts'
import type { TextEmbedder } from './served_model.ts'

/** The vector of a text is its length and two constants. */
const embedder: TextEmbedder = {
  width: 3,
  async embed(texts) {
    const long = texts.find((text) => text.length > 20)
    if (long !== undefined)
      throw new OptionError('text 1: has 21 tokens, 20 fit', { code: 'PARE_E_TEXT_TOO_LONG' })
    return {
      vectors: texts.map((text) => Float32Array.of(text.length, 0.25, -1.5)),
      tokens: texts.map((text) => text.length),
    }
  },
}
const path = '/v1/embeddings'
const base = { model: 'scripted' }

describe('vectors', () => {
  test('are numbers, in the order of the texts, with the tokens of all', async () => {
    const { app } = serveScript({ embedder })
    const { status, body } = await ask(app, path, { ...base, input: ['a', 'bcd'] })
    expect(status).toBe(200)
    expect(body).toEqual({
      object: 'list',
      data: [
        { object: 'embedding', index: 0, embedding: [1, 0.25, -1.5] },
        { object: 'embedding', index: 1, embedding: [3, 0.25, -1.5] },
      ],
      model: 'scripted',
      usage: { prompt_tokens: 4, total_tokens: 4 },
    })
  })
  test('are base64 of little-endian f32 where that was asked for', async () => {
    const { app } = serveScript({ embedder })
    const { body } = await ask(app, path, { ...base, input: 'a', encoding_format: 'base64', dimensions: 3 })
    // 1, 0.25 and -1.5 are 3f800000, 3e800000 and bfc00000.
    expect(Buffer.from(body.data[0].embedding, 'base64').toString('hex')).toBe('0000803f0000803e0000c0bf')
  })
  test("reach OpenAI's client, which asks for base64 by itself", async () => {
    const { client } = await listenScript({ embedder })
    const { data } = await client.embeddings.create({ model: 'scripted', input: ['ab'] })
    expect([...data[0]!.embedding]).toEqual([2, 0.25, -1.5])
    const floats = await client.embeddings.create({
      model: 'scripted',
      input: 'ab',
      encoding_format: 'float',
    })
    expect(floats.data[0]!.embedding).toEqual([2, 0.25, -1.5])
  })
  test.each([
    ['a text that is cut', { input: ['a', 'b'.repeat(21)] }, 'input', 'context_length_exceeded'],
    ['another width', { input: 'a', dimensions: 2 }, 'dimensions', 'unsupported_field'],
    ['token ids', { input: [1, 2] }, 'input', 'invalid_value'],
    ['an empty text', { input: '' }, 'input', 'invalid_value'],
    ['nothing', {}, 'input', 'missing_field'],
    ['an unknown form', { input: 'a', encoding_format: 'int8' }, 'encoding_format', 'invalid_value'],
  ])('of %s are refused', async (_, fields, param, code) => {
    const { app } = serveScript({ embedder })
    const { status, body } = await ask(app, path, { ...base, ...fields })
    expect(status).toBe(400)
    expect(body.error.param).toMatch(new RegExp(`^${param}`))
    expect(body.error.code).toBe(code)
    expect(app.admission.held).toBe(0)
  })
})

test('a language model gives no vectors, and an encoder writes no texts', async () => {
  const language = await ask(serveScript().app, path, { ...base, input: 'a' })
  expect([language.status, language.body.error.code]).toEqual([400, 'no_text_encoder'])
  const { app } = serveScript({ embedder })
  const chat = { ...base, messages: [{ role: 'user', content: 'a' }] }
  for (const answer of [
    await ask(app, '/v1/chat/completions', chat),
    await ask(app, '/v1/completions', { ...base, prompt: 'a' }),
  ])
    expect([answer.status, answer.body.error.code]).toEqual([400, 'no_language_model'])
})
