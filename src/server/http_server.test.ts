import { connect, type Socket } from 'node:net'
import OpenAI from 'openai'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type Listening, listenScript } from './served.suite.ts'

/** Other work may keep this process from running. */
const patient = { timeout: 20_000 }

const model = 'scripted'
const chat = { model, messages: [{ role: 'user' as const, content: 'What is a whale?' }] }
const free = ({ generator, app }: Listening) =>
  vi.waitFor(() => {
    expect(generator.load()).toEqual({ running: 0, waiting: 0 })
    expect(app.admission.held).toBe(0)
  }, patient)
const figures = async ({ app }: Listening) =>
  await (await app.request('/metrics', { headers: { host: 'localhost' } })).text()
/** Waits until so many requests were left by their clients. */
const counted = (listening: Listening, requests: number) =>
  vi.waitFor(
    async () =>
      expect(await figures(listening)).toContain(
        `pare_requests_total{endpoint="/v1/chat/completions",status="499"} ${requests}\n`,
      ),
    patient,
  )
const sockets: Socket[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
})

/** A connection that is written by hand; `text` is what came back so far. */
function raw(port: number, text: string): { socket: Socket; text: () => string; closed: Promise<void> } {
  const socket = connect(port, '127.0.0.1')
  sockets.push(socket)
  let seen = ''
  socket.on('data', (data) => {
    seen += data
  })
  socket.on('error', () => {})
  socket.write(text)
  return { socket, text: () => seen, closed: new Promise((resolve) => socket.on('close', () => resolve())) }
}
const post = (path: string, body: object) => {
  const text = JSON.stringify(body)
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
}
/** A text that does not end in this test. */
const endless = { context: 1e7 }

describe('a client that goes away', () => {
  test('in a stream frees its place within a few steps', async () => {
    const listening = await listenScript({ pace: 2, ...endless })
    const stream = await listening.client.chat.completions.create({ ...chat, stream: true })
    let chunks = 0
    for await (const _ of stream) if (++chunks === 5) break
    const before = listening.generator.steps()
    await free(listening)
    expect(listening.generator.steps() - before).toBeLessThan(20)
  })
  test('while it waits for a whole answer frees its place', async () => {
    const listening = await listenScript({ pace: 2, ...endless })
    const gone = new AbortController()
    const waiting = listening.client.chat.completions.create(chat, { signal: gone.signal })
    const aborted = expect(waiting).rejects.toBeInstanceOf(OpenAI.APIUserAbortError)
    await vi.waitFor(() => expect(listening.generator.load().running).toBe(1), patient)
    gone.abort()
    await aborted
    await free(listening)
  })
  test('while it waits in the queue leaves it', async () => {
    const listening = await listenScript({ slots: 1, ...endless })
    const { port } = listening.server
    const clients = [1, 2, 3].map(() => raw(port, post('/v1/chat/completions', { ...chat, stream: true })))
    await vi.waitFor(() => expect(listening.generator.load()).toEqual({ running: 1, waiting: 2 }), patient)
    clients[1]!.socket.destroy()
    await vi.waitFor(() => expect(listening.generator.load()).toEqual({ running: 1, waiting: 1 }), patient)
    for (const { socket } of clients) socket.destroy()
    await free(listening)
  })
  test('in the middle of its request holds nothing', async () => {
    const listening = await listenScript()
    const half = post('/v1/chat/completions', chat).slice(0, -10)
    const { socket } = raw(listening.server.port, half)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(listening.app.admission.held).toBe(0)
    socket.destroy()
    await free(listening)
    await counted(listening, 1)
    expect(listening.logged).toEqual([])
  })
  test('before its answer begins counts as 499, and no more than once', async () => {
    const listening = await listenScript({ slots: 1, ...endless })
    const { port } = listening.server
    const bodies = [chat, { ...chat, n: 3 }, { ...chat, stream: true }]
    const clients = bodies.map((body) => raw(port, post('/v1/chat/completions', body)))
    await vi.waitFor(() => expect(listening.generator.load().waiting).toBeGreaterThan(0), patient)
    const half = raw(port, post('/v1/chat/completions', chat).slice(0, -10))
    await new Promise((resolve) => setTimeout(resolve, 50))
    for (const { socket } of [...clients, half]) socket.destroy()
    await free(listening)
    await counted(listening, 4)
    expect(listening.logged).toEqual([])
    expect(await figures(listening)).toContain(
      'pare_request_seconds_count{endpoint="/v1/chat/completions"} 4',
    )
  })
})

describe('a slow client', () => {
  test('that reads nothing stops its own text and no other, and is given up', async () => {
    const listening = await listenScript({ streaming: { stalled: 1500 }, ...endless })
    const { generator, server, client } = listening
    const wide = { ...chat, stream: true, logprobs: true, top_logprobs: 20 }
    const { socket, closed } = raw(server.port, post('/v1/chat/completions', wide))
    socket.pause()
    // What the connection holds is written; then nothing is.
    const readings: number[] = []
    await vi.waitFor(
      () => {
        readings.push(generator.steps())
        expect(new Set(readings.slice(-4)).size + Math.min(readings.length, 4)).toBe(5)
      },
      { interval: 150, timeout: 20_000 },
    )
    const steps = generator.steps()
    const answer = await client.chat.completions.create({ ...chat, max_tokens: 50 })
    expect(answer.usage!.completion_tokens).toBe(50)
    expect(generator.steps() - steps).toBe(51)
    await free(listening)
    socket.resume()
    await closed
  })
  test('that sends its request in drops is let go, and holds no place', async () => {
    const { server, app } = await listenScript({}, { headersTimeout: 200, requestTimeout: 300 })
    const inHead = raw(server.port, 'POST /v1/chat/completions HTTP/1.1\r\nHost: loc')
    const inBody = raw(server.port, post('/v1/chat/completions', chat).slice(0, -5))
    const drops = setInterval(() => inHead.socket.write('a'), 50)
    await Promise.all([inHead.closed, inBody.closed])
    clearInterval(drops)
    expect(app.admission.held).toBe(0)
    expect(inHead.text()).toMatch(/^HTTP\/1.1 408 .*"request_timeout"/s)
  })
})

describe('what is no request', () => {
  test.each<[what: string, bytes: string, answer: RegExp, counted?: number]>([
    ['garbage', '\u0000\u0001\u0002 whale\r\n\r\n', /^HTTP\/1.1 400 .*"invalid_http"/s],
    [
      'a body of broken chunks',
      'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\nzz\r\n',
      /^HTTP\/1.1 400 .*"invalid_http"/s,
      // The connection is closed in the middle of a request.
      499,
    ],
    [
      'an expectation',
      'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nExpect: gold\r\nContent-Length: 0\r\n\r\n',
      /^HTTP\/1.1 417 .*"expectation_failed"/s,
    ],
    [
      'a head without an end',
      `GET /health HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}`,
      /^HTTP\/1.1 431 .*"headers_too_large"/s,
    ],
    [
      'two lengths',
      'POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
      /^HTTP\/1.1 400 .*"error"/s,
    ],
    ['no host', 'GET /health HTTP/1.1\r\n\r\n', /^HTTP\/1.1 400 .*"error"/s],
    [
      'another host',
      'GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n',
      /^HTTP\/1.1 403 .*host_not_allowed/s,
    ],
    [
      'a host that is none',
      'GET /health HTTP/1.1\r\nHost: a b@c\r\nConnection: close\r\n\r\n',
      /^HTTP\/1.1 400 .*"error"/s,
    ],
    [
      'a path with tricks',
      'GET /v1/../health\\x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
      /^HTTP\/1.1 400 .*"error"/s,
    ],
  ])('%s is refused and counted, and the server lives on', async (_, bytes, answer, counted) => {
    const listening = await listenScript()
    const { server, client, logged } = listening
    const { text, socket } = raw(server.port, bytes)
    await vi.waitFor(() => expect(text()).toMatch(answer), patient)
    socket.destroy()
    const status = counted ?? /^HTTP\/1.1 (\d+)/.exec(text())![1]
    await vi.waitFor(async () => {
      const lines = (await figures(listening)).match(/^pare_requests_total.*$/gm) ?? []
      const refused = lines.filter((line) => !line.includes('"/metrics"'))
      expect(refused).toEqual([expect.stringMatching(new RegExp(`status="${status}"} 1$`))])
    }, patient)
    expect((await client.models.list()).data).toHaveLength(1)
    expect(logged).toEqual([])
  })
})

test('garbage behind a request whose answer is on its way does not break into it', async () => {
  const listening = await listenScript({ pace: 2 })
  const { text, closed } = raw(
    listening.server.port,
    `${post('/v1/chat/completions', { ...chat, stream: true, max_tokens: 50 })}`,
  )
  await vi.waitFor(() => expect(text()).toContain('data: '), patient)
  sockets.at(-1)!.write('\u0000garbage\r\n\r\n')
  await closed
  expect(text()).not.toContain('invalid_http')
  await free(listening)
})

describe('a server that stops', () => {
  test('ends its streams with an error, refuses new connections and closes', async () => {
    const { client, server, generator } = await listenScript({ pace: 1, ...endless })
    const stream = await client.chat.completions.create({ ...chat, stream: true })
    const reading = expect(
      (async () => {
        for await (const _ of stream);
      })(),
    ).rejects.toMatchObject({ code: 'stopping' })
    await vi.waitFor(() => expect(generator.load().running).toBe(1), patient)
    await server.stop(30)
    await reading
    expect(generator.load().running).toBe(0)
    await expect(client.models.list()).rejects.toBeInstanceOf(OpenAI.APIConnectionError)
  })
  test('waits for the answers that are almost done', async () => {
    const { client, server, generator } = await listenScript({ pace: 5 })
    const answer = client.chat.completions.create({ ...chat, max_tokens: 20 })
    await vi.waitFor(() => expect(generator.load().running).toBe(1), patient)
    await server.stop(5000)
    expect((await answer).usage!.completion_tokens).toBe(20)
  })
  test('does not wait for connections that say nothing', async () => {
    const { server } = await listenScript()
    const idle = raw(server.port, '')
    await new Promise((resolve) => setTimeout(resolve, 20))
    const began = performance.now()
    await server.stop(5000)
    expect(performance.now() - began).toBeLessThan(4900)
    await idle.closed
  })
})

test('a port that another program has is refused with the way out', async () => {
  const { server } = await listenScript()
  await expect(listenScript({}, { port: server.port })).rejects.toThrow(
    expect.objectContaining({
      code: 'PARE_E_ADDRESS',
      message: expect.stringContaining('choose another --port'),
    }),
  )
})
