import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ask, serveScript } from './served.suite.ts'
import { unsupportedFields } from './unsupported_fields.ts'

const path = '/v1/chat/completions'
const chat = { model: 'scripted', messages: [{ role: 'user', content: 'Hi' }] }
const { app } = serveScript({ write: () => [] })

describe('fields that Pare does not serve', () => {
  const asks: Record<string, unknown> = {
    tools: [{ type: 'function', function: { name: 'f' } }],
    functions: [{ name: 'f' }],
    tool_choice: 'required',
    function_call: { name: 'f' },
    parallel_tool_calls: { a: 1 },
    response_format: { type: 'json_object' },
    modalities: ['text', 'audio'],
    audio: { voice: 'alloy', format: 'wav' },
    prediction: { type: 'content', content: 'a' },
    store: true,
    metadata: { a: 'b' },
    reasoning_effort: 'low',
    verbosity: 'low',
    service_tier: 'flex',
    web_search_options: {},
    moderation: {},
    suffix: 'x',
  }
  test.each(Object.keys(unsupportedFields))('%s is refused by name', async (name) => {
    expect(asks).toHaveProperty(name)
    const { status, body } = await ask(app, path, { ...chat, [name]: asks[name] })
    expect(status).toBe(400)
    expect(body.error).toMatchObject({
      type: 'invalid_request_error',
      param: name,
      code: 'unsupported_field',
      message: expect.stringMatching(new RegExp(`^${name}: .*; leave it out$`)),
    })
  })
  test('are taken where they ask for nothing, or are null', async () => {
    const nothing = {
      tools: [],
      tool_choice: 'auto',
      parallel_tool_calls: true,
      response_format: { type: 'text' },
      modalities: ['text'],
      store: false,
      service_tier: 'auto',
    }
    expect((await ask(app, path, { ...chat, ...nothing })).status).toBe(200)
    const nulls = Object.fromEntries(Object.keys(unsupportedFields).map((name) => [name, null]))
    expect((await ask(app, path, { ...chat, ...nulls, stop: null, seed: null })).status).toBe(200)
  })
})

describe('a field at fault is named', () => {
  test.each<[param: string, fields: object, message: RegExp]>([
    ['colour', { colour: 'red' }, /^colour: is no field of this endpoint/],
    ['messages[0].colour', { messages: [{ role: 'user', content: 'a', colour: 1 }] }, /is no field/],
    ['model', { model: undefined }, /^model: is missing/],
    ['messages', { messages: undefined }, /^messages: is missing/],
    ['messages', { messages: [] }, /one message at least/],
    ['messages', { messages: 'Hi' }, /a list of messages is needed, got "Hi"/],
    [
      'messages[0].role',
      { messages: [{ role: 'tool', content: 'a' }] },
      /system, developer, user or assistant/,
    ],
    ['messages[1].content', { messages: [chat.messages[0], { role: 'user', content: 7 }] }, /got 7/],
    [
      'messages[0].content[1].type',
      {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'a' },
              { type: 'image_url', image_url: { url: 'data:' } },
            ],
          },
        ],
      },
      /text is the only kind of content/,
    ],
    ['temperature', { temperature: 2.5 }, /a number from 0 to 2 is needed, got 2.5/],
    ['temperature', { temperature: '1' }, /got "1"/],
    ['top_p', { top_p: 0 }, /above 0, up to 1/],
    ['n', { n: 0 }, /from 1 to 128/],
    ['n', { n: 129 }, /from 1 to 128/],
    ['stop', { stop: ['a', 'b', 'c', 'd', 'e'] }, /at most 4 texts/],
    ['stop', { stop: '' }, /not empty/],
    ['stop', { stop: 3 }, /a text or a list/],
    ['seed', { seed: 2 ** 53 }, /a whole number from -4503599627370496/],
    ['seed', { seed: 0.5 }, /a whole number/],
    ['max_tokens', { max_tokens: 0 }, /from 1/],
    ['top_logprobs', { logprobs: true, top_logprobs: 21 }, /from 0 to 20/],
    ['top_logprobs', { top_logprobs: 2 }, /needs logprobs/],
    ['logprobs', { logprobs: 2 }, /true or false/],
    ['presence_penalty', { presence_penalty: 3 }, /from -2 to 2/],
    ['logit_bias.a', { logit_bias: { a: 1 } }, /token ids are needed as keys, got "a"/],
    ['logit_bias.07', { logit_bias: { '07': 1 } }, /token ids are needed as keys/],
    ['messages[0]', { messages: ['Hi'] }, /an object is needed, got "Hi"/],
    ['messages[0].name', { messages: [{ ...chat.messages[0], name: 5 }] }, /a text is needed, got 5/],
    ['user', { user: {} }, /a text is needed, got \{\}/],
    ['messages', { messages: [{ role: 'user', content: 'half \ud83d' }] }, /one half of a character/],
    ['logit_bias.7', { logit_bias: { 7: 101 } }, /from -100 to 100/],
    ['stream_options', { stream_options: { include_usage: true } }, /needs stream/],
    ['stream_options.colour', { stream: true, stream_options: { colour: 1 } }, /is no field/],
  ])('%s in %j', async (param, fields, message) => {
    const { status, body } = await ask(app, path, { ...chat, ...fields })
    expect(status, body.error?.message).toBe(400)
    expect(body.error).toEqual({
      type: 'invalid_request_error',
      param,
      code: expect.any(String),
      message: expect.stringMatching(message),
    })
  })
})

describe('a body that is no JSON object is refused', () => {
  test.each([
    ['garbage', '\u0000\u0001{', 400],
    ['an open object', '{"model":', 400],
    ['a list', '[]', 400],
    ['a number', '7', 400],
    ['nothing', '', 400],
    ['a key that stands twice', '{"model":"scripted","model":"x"}', 400],
    ['lists nested deep', `{"messages":${'['.repeat(1e5)}${']'.repeat(1e5)}}`, 400],
  ])('%s', async (_, text, status) => {
    const answer = await ask(app, path, text)
    expect(answer.status).toBe(status)
    expect(answer.body.error).toMatchObject({ type: 'invalid_request_error', message: expect.any(String) })
  })
  test.each([
    [
      'that would fill in others',
      '{"__proto__":{"model":"scripted"},"messages":[{"role":"user","content":"a"}]}',
    ],
    [
      'of a message',
      '{"model":"scripted","messages":[{"role":"user","content":"a","__proto__":{"name":"b"}}]}',
    ],
    [
      'among biases',
      '{"model":"scripted","messages":[{"role":"user","content":"a"}],"logit_bias":{"__proto__":1}}',
    ],
  ])('a prototype %s, which schemas pass over', async (_, text) => {
    const { status, body } = await ask(app, path, text)
    expect([status, body.error.code, body.error.param]).toEqual([400, 'unknown_field', '__proto__'])
  })
  test('numbers that are too large for one are named as what they become', async () => {
    const { status, body } = await ask(app, path, JSON.stringify(chat).replace('{', '{"temperature":-1e999,'))
    expect([status, body.error.message]).toEqual([
      400,
      'temperature: a number from 0 to 2 is needed, got -Infinity',
    ])
  })
  test('packed bytes with 415', async () => {
    const { status, body } = await ask(app, path, chat, { 'content-encoding': 'gzip' })
    expect([status, body.error.message]).toEqual([
      415,
      expect.stringContaining('content-encoding: none is read, got gzip'),
    ])
  })
  test('bytes that are no UTF-8', async () => {
    const response = await app.request(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', host: 'localhost' },
      body: Buffer.from([0x7b, 0xff, 0x7d]),
    })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { message: expect.stringContaining('UTF-8') } })
  })
  test('another type of content with 415, so that forms of other pages are none', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp', '']) {
      const { status, body } = await ask(app, path, JSON.stringify(chat), { 'content-type': type })
      expect(status).toBe(415)
      expect(body.error.message).toContain('application/json is needed')
    }
    const charset = { 'content-type': 'Application/JSON; charset=utf-8' }
    expect((await ask(app, path, JSON.stringify(chat), charset)).status).toBe(200)
  })
  test('more bytes than the limit with 413, told by its header or counted', async () => {
    const { app } = serveScript({ maxBody: 1000, write: () => [] })
    const long = JSON.stringify({ ...chat, messages: [{ role: 'user', content: 'a'.repeat(1000) }] })
    const told = await ask(app, path, long, { 'content-length': String(long.length) })
    const counted = await ask(app, path, long)
    for (const { status, body } of [told, counted]) {
      expect(status).toBe(413)
      expect(body.error).toMatchObject({
        code: 'body_too_large',
        message: expect.stringContaining('1000 bytes'),
      })
    }
    expect((await ask(app, path, chat)).status).toBe(200)
  })
})

describe('what would keep a schema busy is refused before', () => {
  test.each([
    ['numbers as messages', { messages: Array(70_000).fill(1) }, 'at most 65536 values'],
    ['messages', { messages: Array(30_000).fill(chat.messages[0]) }, 'at most 65536 values'],
    ['numbers as stop texts', { stop: Array(70_000).fill(1) }, 'at most 65536 values'],
    ['keys', Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`k${i}`, 1])), 'more than 2048 keys'],
  ])('%s', async (_, fields, message) => {
    const { status, body } = await ask(app, path, { ...chat, ...fields })
    expect(status).toBe(400)
    expect(body.error.message).toContain(message)
  })
  test('what a chat may hold is not', async () => {
    const { app } = serveScript({ write: () => [], context: 1e6 })
    const messages = Array(20_000).fill(chat.messages[0])
    const logit_bias = Object.fromEntries(Array.from({ length: 1024 }, (_, id) => [id, 1]))
    expect((await ask(app, path, { ...chat, messages, logit_bias, max_tokens: 1 })).status).toBe(200)
  })
})

test('whatever fields hold, the answer is a text or an error that names one of them', async () => {
  const names = fc.constantFrom(...Object.keys(asked))
  const fields = fc.dictionary(names, fc.jsonValue({ maxDepth: 3 }), { maxKeys: 4 })
  await fc.assert(
    fc.asyncProperty(fields, async (drawn) => {
      const { status, body } = await ask(app, path, { ...chat, ...drawn })
      if (status === 200) return
      expect([400, 404]).toContain(status)
      expect(body.error.message).toMatch(/^[^\n]{5,400}$/)
      expect(body.error.message).not.toContain('Invalid input')
      if (body.error.code !== 'invalid_json') expect(body.error.param).toMatch(/^\w/)
    }),
    { numRuns: 300 },
  )
})
const asked = {
  model: 1,
  messages: 1,
  stop: 1,
  n: 1,
  seed: 1,
  temperature: 1,
  top_p: 1,
  logit_bias: 1,
  stream_options: 1,
  max_tokens: 1,
  logprobs: 1,
  top_logprobs: 1,
  tools: 1,
  response_format: 1,
  top_k: 1,
  user: 1,
  x: 1,
}
