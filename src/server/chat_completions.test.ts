import { describe, expect, test } from 'vitest'
import { ask, idsOf, objectsOf, serveScript, tokenizer, writes } from './served.suite.ts'

const path = '/v1/chat/completions'
const messages = [{ role: 'user', content: 'What is a whale?' }]
const chat = { model: 'scripted', messages }

describe('a chat', () => {
  test('is answered with one turn, its reason to end and its tokens', async () => {
    const { app } = serveScript({ write: writes(' A large fish.') })
    const { status, body } = await ask(app, path, chat)
    expect(status).toBe(200)
    const prompt = tokenizer.encode('user: What is a whale?\nassistant:').length
    const completion = idsOf(' A large fish.').length
    expect(body).toEqual({
      id: expect.stringMatching(/^chatcmpl-[0-9a-f]{32}$/),
      object: 'chat.completion',
      created: expect.any(Number),
      model: 'scripted',
      system_fingerprint: 'fp_0123456789',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: ' A large fish.', refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
      usage: {
        prompt_tokens: prompt,
        completion_tokens: completion,
        total_tokens: prompt + completion,
      },
    })
    expect(Math.abs(body.created - Date.now() / 1000)).toBeLessThan(60)
  })
  test('reads lists of texts, and developer as system', async () => {
    const seen: string[] = []
    const { app } = serveScript({
      write: ({ prompt }) => {
        seen.push(tokenizer.decode(prompt))
        return []
      },
    })
    const parts = [
      { type: 'text', text: 'one' },
      { type: 'text', text: 'two' },
    ]
    await ask(app, path, {
      ...chat,
      messages: [
        { role: 'developer', content: 'Be brief.' },
        { role: 'user', content: parts, name: 'me' },
      ],
    })
    expect(seen).toEqual(['system: Be brief.\nuser: one\ntwo\nassistant:'])
  })
  test('ends at max_completion_tokens, or at max_tokens as it was called', async () => {
    const { app } = serveScript({ write: writes(' one two three four five') })
    for (const name of ['max_tokens', 'max_completion_tokens']) {
      const { body } = await ask(app, path, { ...chat, [name]: 2 })
      expect(body.choices[0].finish_reason).toBe('length')
      expect(body.usage.completion_tokens).toBe(2)
    }
    const both = await ask(app, path, { ...chat, max_tokens: 2, max_completion_tokens: 2 })
    expect(both.body.error).toMatchObject({ param: 'max_tokens' })
  })
  test('ends before a stop text, which is not shown', async () => {
    const { app } = serveScript({ write: writes(' one, two; three') })
    for (const stop of [';', ['no', '; th']]) {
      const { body } = await ask(app, path, { ...chat, stop })
      expect(body.choices[0]).toMatchObject({ message: { content: ' one, two' }, finish_reason: 'stop' })
    }
  })
  test('has n turns of seeds that follow each other', async () => {
    const seeds: (number | undefined)[] = []
    const { app } = serveScript({
      write: ({ seed }) => {
        seeds.push(seed)
        return idsOf(` turn ${seed}`)
      },
    })
    const { body } = await ask(app, path, { ...chat, n: 3, seed: 5 })
    expect(seeds).toEqual([5, 6, 7])
    expect(body.choices.map((choice: { index: number }) => choice.index)).toEqual([0, 1, 2])
    expect(body.choices[2].message.content).toBe(' turn 7')
    const tokens = [5, 6, 7].map((seed) => idsOf(` turn ${seed}`).length)
    expect(body.usage.completion_tokens).toBe(tokens.reduce((sum, count) => sum + count, 0))
  })
  test('passes the ways of sampling on, those of the model where nothing is said', async () => {
    const seen: object[] = []
    const { app } = serveScript({
      defaults: { temperature: 0.6, topK: 20 },
      write: ({ prompt: _, ...request }) => {
        seen.push(request)
        return []
      },
    })
    await ask(app, path, chat)
    await ask(app, path, {
      ...chat,
      temperature: 0,
      top_p: 0.5,
      top_k: 0,
      min_p: 0.1,
      repetition_penalty: 1.1,
      presence_penalty: -1,
      frequency_penalty: 2,
      logit_bias: { 7: -100 },
      seed: 1,
      max_tokens: 3,
      stop: 'x',
      user: 'me',
      tools: [],
      response_format: { type: 'text' },
    })
    expect(seen).toEqual([
      { temperature: 0.6, topK: 20 },
      {
        temperature: 0,
        topP: 0.5,
        topK: 0,
        minP: 0.1,
        repetitionPenalty: 1.1,
        presencePenalty: -1,
        frequencyPenalty: 2,
        logitBias: new Map([[7, -100]]),
        seed: 1,
        maxTokens: 3,
        stop: ['x'],
      },
    ])
  })
  test('with more chances than fit an answer is refused before a token is written', async () => {
    // 100 texts of 500 tokens, each with itself and 20 others: 1,050,000 chances, where 2^20 fit.
    const { app, generator } = serveScript({ context: 1000 })
    const many = { ...chat, n: 100, max_tokens: 500, logprobs: true }
    const { status, body } = await ask(app, path, { ...many, top_logprobs: 20 })
    expect([status, body.error.param]).toEqual([400, 'logprobs'])
    expect(body.error.message).toMatch(/at most 1048576 chances fit one answer, these texts may have 1050000/)
    expect(generator.steps()).toBe(0)
    // Without a limit a turn may fill the context, which counts then: 100 * 900 * 21 are more.
    expect((await ask(app, path, { ...many, max_tokens: undefined, top_logprobs: 20 })).status).toBe(400)
  })
  test('tells the chance and the bytes of every token, and of those beside it', async () => {
    const { app } = serveScript({ write: writes(' whale') })
    const { body } = await ask(app, path, { ...chat, logprobs: true, top_logprobs: 2 })
    const ids = idsOf(' whale')
    const one = (id: number, logprob: number) => ({
      token: tokenizer.tokenText(id),
      logprob,
      bytes: [...tokenizer.tokenBytes(id)],
    })
    expect(body.choices[0].logprobs).toEqual({
      content: ids.map((id) => ({
        ...one(id, -id / 1000),
        top_logprobs: [one(id, -id / 1000), one(id + 1, -id / 1000 - 0.5)],
      })),
      refusal: null,
    })
  })
})

describe('a stream of a chat', () => {
  test('has the role first, then the text, then the reason, and [DONE]', async () => {
    const { app } = serveScript({ write: writes(' A large fish.') })
    const { headers, body } = await ask(app, path, { ...chat, stream: true })
    expect(headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    const objects = objectsOf(body)
    expect(objects.at(-1)).toBe('[DONE]')
    const chunks = objects.slice(0, -1)
    expect(chunks[0].choices).toEqual([
      {
        index: 0,
        delta: { role: 'assistant', content: '', refusal: null },
        logprobs: null,
        finish_reason: null,
      },
    ])
    expect(chunks.at(-1).choices).toEqual([{ index: 0, delta: {}, logprobs: null, finish_reason: 'stop' }])
    const text = chunks.slice(1, -1).map((chunk) => chunk.choices[0].delta.content)
    expect(text.join('')).toBe(' A large fish.')
    expect(text).not.toContain('')
    for (const key of ['id', 'created', 'model', 'object', 'system_fingerprint'])
      expect(new Set(chunks.map((chunk) => chunk[key])).size, key).toBe(1)
    expect(chunks[0]).toMatchObject({ object: 'chat.completion.chunk', model: 'scripted' })
    for (const chunk of chunks) expect(chunk).not.toHaveProperty('usage')
  })
  test('has its usage in one more chunk, where that was asked for', async () => {
    const { app } = serveScript({ write: writes(' A fish.') })
    const asked = { ...chat, stream: true, stream_options: { include_usage: true } }
    const chunks = objectsOf((await ask(app, path, asked)).body).slice(0, -1)
    for (const chunk of chunks.slice(0, -1)) expect(chunk.usage).toBeNull()
    const whole = await ask(app, path, chat)
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: whole.body.usage })
  })
  test('has the chance of each token beside its text', async () => {
    const { app } = serveScript({ write: writes(' A whale 🐳.') })
    const asked = { ...chat, logprobs: true, top_logprobs: 3 }
    const whole = await ask(app, path, asked)
    const chunks = objectsOf((await ask(app, path, { ...asked, stream: true })).body).slice(0, -1)
    const content = chunks.flatMap((chunk) => chunk.choices[0].logprobs?.content ?? [])
    expect(content).toEqual(whole.body.choices[0].logprobs.content)
    const bytes = content.flatMap((one) => one.bytes)
    expect(Buffer.from(bytes).toString()).toBe(' A whale 🐳.')
  })
  test('never splits a character, whatever its bytes', async () => {
    const text = ' 🐳é漢字👩‍👩‍👧 ok'
    const { app } = serveScript({ write: writes(text) })
    const chunks = objectsOf((await ask(app, path, { ...chat, stream: true })).body).slice(0, -1)
    const pieces: string[] = chunks.map((chunk) => chunk.choices[0].delta.content ?? '')
    expect(pieces.join('')).toBe(text)
    for (const piece of pieces) expect(piece).not.toMatch(/\ufffd|[\ud800-\udbff]$|^[\udc00-\udfff]/)
  })
  test('has n turns side by side, each with its index', async () => {
    const { app } = serveScript({ write: ({ seed }) => idsOf(` number ${seed}`) })
    const chunks = objectsOf((await ask(app, path, { ...chat, stream: true, n: 3, seed: 1 })).body).slice(
      0,
      -1,
    )
    for (const index of [0, 1, 2]) {
      const own = chunks.flatMap((chunk) => chunk.choices).filter((choice) => choice.index === index)
      expect(own.map((choice) => choice.delta.content ?? '').join('')).toBe(` number ${index + 1}`)
      expect(own.at(-1).finish_reason).toBe('stop')
    }
  })
  test('that fails behind its beginning ends with an error object', async () => {
    const { app, logged } = serveScript({
      write: function* () {
        yield* idsOf(' so far')
        throw new Error('secret')
      },
    })
    const { status, body } = await ask(app, path, { ...chat, stream: true })
    expect(status).toBe(200)
    const last = objectsOf(body).at(-1)
    expect(last.error).toMatchObject({ type: 'server_error', code: 'server_error' })
    expect(JSON.stringify(last)).not.toContain('secret')
    expect(logged).toEqual([expect.objectContaining({ message: 'secret' })])
  })
})

describe('a chat that cannot be read is refused', () => {
  test('where the model has no template', async () => {
    const { app } = serveScript({ template: null })
    const { status, body } = await ask(app, path, chat)
    expect(status).toBe(400)
    expect(body.error).toMatchObject({ param: 'messages', code: 'no_chat_template' })
  })
  test('where the template refuses it', async () => {
    const { app } = serveScript()
    const { status, body } = await ask(app, path, {
      ...chat,
      messages: [{ role: 'assistant', content: 'a' }],
    })
    expect(status).toBe(400)
    expect(body.error).toMatchObject({ message: expect.stringContaining('the user speaks first') })
  })
  test('where it is longer than the context, with both numbers, and is not cut', async () => {
    const { app, generator } = serveScript()
    const long = [{ role: 'user', content: 'whale '.repeat(300) }]
    for (const stream of [false, true]) {
      const { status, body } = await ask(app, path, { ...chat, messages: long, stream })
      expect(status).toBe(400)
      expect(body.error).toMatchObject({
        type: 'invalid_request_error',
        param: 'messages',
        code: 'context_length_exceeded',
        message: expect.stringMatching(/256 tokens at most, this has \d{3,4}/),
      })
    }
    const more = await ask(app, path, { ...chat, max_tokens: 250 })
    expect(more.body.error).toMatchObject({
      code: 'context_length_exceeded',
      message: expect.stringContaining('250 more'),
    })
    expect(generator.steps()).toBe(0)
  })
})
