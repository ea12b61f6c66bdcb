import OpenAI from 'openai'
import { describe, expect, test, vi } from 'vitest'
import { listenScript, tokenizer, writes } from './served.suite.ts'

/** Other work may keep this process from running. */
const patient = { timeout: 20_000 }

const model = 'scripted'
const user = (content: string) => [{ role: 'user' as const, content }]
const chat = { model, messages: user('What is a whale?') }

describe("OpenAI's own client", () => {
  test('chats, as a whole and as a stream', async () => {
    const { client } = await listenScript({ write: writes(' A large 🐳.') })
    const whole = await client.chat.completions.create({ ...chat, logprobs: true, top_logprobs: 1 })
    expect(whole.choices[0]).toMatchObject({ message: { content: ' A large 🐳.' }, finish_reason: 'stop' })
    expect(whole._request_id).toMatch(/^req_/)
    const stream = await client.chat.completions.create({
      ...chat,
      stream: true,
      logprobs: true,
      top_logprobs: 1,
      stream_options: { include_usage: true },
    })
    const [text, logprobs, usage]: [string[], object[], unknown[]] = [[], [], []]
    for await (const { choices, usage: used } of stream) {
      text.push(choices[0]?.delta.content ?? '')
      logprobs.push(...(choices[0]?.logprobs?.content ?? []))
      if (used) usage.push(used)
    }
    expect(text.join('')).toBe(' A large 🐳.')
    expect(logprobs).toEqual(whole.choices[0]!.logprobs!.content)
    expect(usage).toEqual([whole.usage])
  })
  test('completes texts, as a whole and as a stream', async () => {
    const { client } = await listenScript({ write: writes(' fish.') })
    const asked = { model, prompt: 'A whale is a', echo: true, logprobs: 1 }
    const whole = await client.completions.create(asked)
    expect(whole.choices[0]!.text).toBe('A whale is a fish.')
    let text = ''
    for await (const chunk of await client.completions.create({ ...asked, stream: true }))
      text += chunk.choices[0]!.text
    expect(text).toBe('A whale is a fish.')
  })
  test('lists and finds the model', async () => {
    const { client } = await listenScript()
    const { data } = await client.models.list()
    expect(data.map(({ id }) => id)).toEqual([model])
    expect(await client.models.retrieve(model)).toMatchObject({ id: model, context_length: 256 })
  })
  test('gets the class of each error', async () => {
    const { client, server } = await listenScript({ apiKey: 'sesame', maxBody: 2_000_000 })
    const create = client.chat.completions.create.bind(client.chat.completions)
    await expect(create({ ...chat, tools: [{ type: 'function', function: { name: 'f' } }] })).rejects.toThrow(
      expect.objectContaining({
        constructor: OpenAI.BadRequestError,
        param: 'tools',
        code: 'unsupported_field',
      }),
    )
    await expect(create({ ...chat, messages: user('whale '.repeat(400)) })).rejects.toMatchObject({
      status: 400,
      code: 'context_length_exceeded',
      type: 'invalid_request_error',
    })
    await expect(create({ ...chat, model: 'other' })).rejects.toBeInstanceOf(OpenAI.NotFoundError)
    const stranger = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'guess', maxRetries: 0 })
    await expect(stranger.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
    await expect(create({ ...chat, messages: user('a'.repeat(3_000_000)) })).rejects.toMatchObject({
      status: 413,
    })
    await expect(client.responses.create({ model, input: 'a' })).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  })
  test('tries again after Retry-After, when the queue was full', async () => {
    const { client, generator } = await listenScript(
      { slots: 1, maxQueue: 0, context: 1e7 },
      { client: { maxRetries: 2 } },
    )
    const first = await client.chat.completions.create({ ...chat, stream: true })
    const impatient = client.chat.completions.create({ ...chat, max_tokens: 1 }, { maxRetries: 0 })
    await expect(impatient).rejects.toBeInstanceOf(OpenAI.RateLimitError)
    const retried = client.chat.completions.create({ ...chat, max_tokens: 1 })
    first.controller.abort()
    expect((await retried).usage!.completion_tokens).toBe(1)
    await vi.waitFor(() => expect(generator.load()).toEqual({ running: 0, waiting: 0 }), patient)
  })
  test('throws what goes wrong in a stream', async () => {
    const { client } = await listenScript({
      write: function* () {
        yield* tokenizer.encode(' so far')
        throw new Error('secret')
      },
    })
    const read = async () => {
      let text = ''
      for await (const chunk of await client.chat.completions.create({ ...chat, stream: true }))
        text += chunk.choices[0]?.delta.content ?? ''
      return text
    }
    await expect(read()).rejects.toMatchObject({
      code: 'server_error',
      message: expect.not.stringContaining('secret'),
    })
  })
})

test('64 streams at once are each the text of their own prompt', async () => {
  const { client } = await listenScript({ slots: 16 })
  const texts = Array.from({ length: 64 }, (_, i) => `whale ${i * 7919};`)
  const answers = await Promise.all(
    texts.map(async (prompt) => {
      let [text, ids] = ['', new Set<string>()]
      const stream = await client.completions.create({ model, prompt, max_tokens: 60, stream: true })
      for await (const chunk of stream) {
        text += chunk.choices[0]!.text
        ids.add(chunk.id)
      }
      return { text, ids }
    }),
  )
  for (const [i, { text, ids }] of answers.entries()) {
    const prompt = tokenizer.encode(texts[i]!)
    expect(text).toBe(tokenizer.decode(Array.from({ length: 60 }, (_, j) => prompt[j % prompt.length]!)))
    expect(ids.size).toBe(1)
  }
  expect(new Set(answers.flatMap(({ ids }) => [...ids])).size).toBe(64)
})
