import { describe, expect, test, vi } from 'vitest'
import { createApp } from './app.ts'
import { ask, idsOf, objectsOf, serveScript, writes } from './served.suite.ts'

/** Other work may keep this process from running. */
const patient = { timeout: 20_000 }

const chat = { model: 'scripted', messages: [{ role: 'user', content: 'Hi' }] }
const model = {
  id: 'scripted',
  object: 'model',
  created: 1_700_000_000,
  owned_by: 'pare',
  context_length: 256,
  quantization: { format: 'gguf', bits_per_weight: 4.5 },
}

describe('endpoints', () => {
  test('/v1/models lists the model with its context and bits, and tells it alone', async () => {
    const { app } = serveScript()
    expect((await ask(app, '/v1/models')).body).toEqual({ object: 'list', data: [model] })
    expect((await ask(app, '/v1/models/scripted')).body).toEqual(model)
  })
  test('a model that is not served is a 404 that names the one which is', async () => {
    const { app } = serveScript()
    const asks = [
      ask(app, '/v1/models/gpt-4o'),
      ask(app, '/v1/models/org%2Fname'),
      ask(app, '/v1/chat/completions', { ...chat, model: 'gpt-4o' }),
    ]
    for (const { status, body } of await Promise.all(asks)) {
      expect(status).toBe(404)
      expect(body.error).toMatchObject({
        type: 'invalid_request_error',
        param: 'model',
        code: 'model_not_found',
        message: expect.stringMatching(/^model (gpt-4o|org\/name): .*this server has scripted$/),
      })
    }
  })
  test.each([
    '/',
    '/v1',
    '/v1/responses',
    '/v1/images/generations',
    '/v1/models/',
    '/V1/models',
    '/v1/files/%00',
  ])('%s is none, and says so in the form of errors', async (path) => {
    const { app } = serveScript()
    for (const body of [undefined, {}]) {
      const answer = await ask(app, path, body)
      expect(answer.status).toBe(404)
      expect(answer.body.error).toMatchObject({ type: 'invalid_request_error', code: expect.any(String) })
    }
  })
  test('that are posted to answer GET with 405', async () => {
    const { app } = serveScript()
    const { status, body, headers } = await ask(app, '/v1/chat/completions')
    expect([status, body.error.code, headers.get('allow')]).toEqual([405, 'method_not_allowed', 'POST'])
  })
  test('every answer has a request id of its own, errors too', async () => {
    const { app } = serveScript()
    const answers = await Promise.all(['/health', '/v1/models', '/nowhere'].map((path) => ask(app, path)))
    const ids = answers.map(({ headers }) => headers.get('x-request-id'))
    for (const id of ids) expect(id).toMatch(/^req_[0-9a-f]{32}$/)
    expect(new Set(ids).size).toBe(3)
  })
  test('while the model is loaded all is 503 with Retry-After, and /health tells it', async () => {
    const app = createApp({
      model: () => undefined,
      names: { host: '127.0.0.1', allowed: [] },
      parallel: 1,
      maxQueue: 1,
    })
    const health = await ask(app, '/health')
    expect([health.status, health.body]).toEqual([503, { status: 'loading' }])
    const { status, headers, body } = await ask(app, '/v1/chat/completions', chat)
    expect([status, headers.get('retry-after'), body.error.code]).toEqual([503, '2', 'loading'])
    expect(body.error.type).toBe('server_error')
    expect((await ask(app, '/v1/models')).status).toBe(503)
    expect((await ask(app, '/metrics')).status).toBe(200)
    const { app: ready } = serveScript()
    expect((await ask(ready, '/health')).body).toEqual({ status: 'ok' })
  })
  test('a defect is a 500 that is logged and hides what it was', async () => {
    const { app, logged } = serveScript({
      write: () => {
        throw new Error('secret')
      },
    })
    const { status, body } = await ask(app, '/v1/chat/completions', chat)
    expect(status).toBe(500)
    expect(body.error).toMatchObject({ type: 'server_error', code: 'server_error' })
    expect(body.error.message).not.toContain('secret')
    expect(logged).toEqual([expect.objectContaining({ message: 'secret' })])
    expect(app.admission.held).toBe(0)
  })
})

describe('the queue', () => {
  test('refuses with 429 and Retry-After what comes when it is full, and is free again afterwards', async () => {
    const { app, generator } = serveScript({ slots: 1, maxQueue: 2, context: 1e6 })
    const endless = { ...chat, stream: true }
    const readers = await Promise.all(
      Array.from({ length: 3 }, async () => {
        const response = await app.request('/v1/chat/completions', {
          method: 'POST',
          headers: { host: 'localhost', 'content-type': 'application/json' },
          body: JSON.stringify(endless),
        })
        expect(response.status).toBe(200)
        return response.body!.getReader()
      }),
    )
    expect(generator.load()).toEqual({ running: 1, waiting: 2 })
    const { status, headers, body } = await ask(app, '/v1/chat/completions', chat)
    expect([status, headers.get('retry-after')]).toEqual([429, '1'])
    expect(body.error).toMatchObject({ type: 'rate_limit_error', code: 'queue_full' })
    const metrics = (await ask(app, '/metrics')).body
    expect(metrics).toContain('pare_texts_running 1\n')
    expect(metrics).toContain('pare_texts_waiting 2\n')
    for (const reader of readers) await reader.cancel()
    await vi.waitFor(() => expect(generator.load()).toEqual({ running: 0, waiting: 0 }), patient)
    expect(app.admission.held).toBe(0)
    expect((await ask(app, '/v1/chat/completions', { ...chat, max_tokens: 1 })).status).toBe(200)
  })
})

describe('metrics', () => {
  test('count requests by endpoint and status, tokens and times', async () => {
    const { app } = serveScript({ write: writes(' A large fish.') })
    const { body } = await ask(app, '/v1/chat/completions', chat)
    await ask(app, '/v1/chat/completions', { ...chat, stream: true })
    await ask(app, '/v1/chat/completions', { ...chat, colour: 1 })
    await ask(app, '/nowhere')
    await ask(app, '/elsewhere"\n')
    const { headers, body: text } = await ask(app, '/metrics')
    expect(headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    for (const line of [
      'pare_requests_total{endpoint="/v1/chat/completions",status="200"} 2',
      'pare_requests_total{endpoint="/v1/chat/completions",status="400"} 1',
      'pare_requests_total{endpoint="other",status="404"} 2',
      `pare_prompt_tokens_total ${2 * body.usage.prompt_tokens}`,
      `pare_generated_tokens_total ${2 * idsOf(' A large fish.').length}`,
      'pare_texts_running 0',
      'pare_request_seconds_count{endpoint="/v1/chat/completions"} 3',
      'pare_request_seconds_bucket{endpoint="/v1/chat/completions",le="+Inf"} 3',
      'pare_first_token_seconds_count 2',
    ])
      expect(text.split('\n')).toContain(line)
  })
  test('have the form that Prometheus reads', async () => {
    const { app } = serveScript()
    await ask(app, '/v1/models')
    const { body } = await ask(app, '/metrics')
    const types = new Map<string, string>()
    for (const line of body.trimEnd().split('\n')) {
      const type = /^# TYPE (\w+) (counter|gauge|histogram)$/.exec(line)
      if (type) types.set(type[1]!, type[2]!)
      else if (!/^# HELP \w+ \S/.test(line)) {
        const [, name] =
          /^(\w+)(?:\{\w+="[^"\\]*"(?:,\w+="[^"\\]*")*\})? \d+(?:\.\d+)?(?:e-?\d+)?$/.exec(line) ?? []
        expect(types.has(name?.replace(/_(bucket|sum|count)$/, '') ?? ''), line).toBe(true)
      }
    }
    expect(types.size).toBe(7)
  })
})

describe('who may ask', () => {
  test('a page whose name was bound to this address may not: names are checked', async () => {
    const { app } = serveScript()
    for (const host of [
      'evil.example',
      'evil.example:8080',
      'localhost.evil.example',
      '127.0.0.1.evil.example',
      '192.168.0.1',
      '',
    ])
      for (const path of ['/health', '/v1/models']) {
        const { status, body } = await ask(app, path, undefined, { host })
        expect([status, body.error.code], host).toEqual([403, 'host_not_allowed'])
      }
    for (const host of ['localhost', 'LOCALHOST:8080', '127.0.0.1:1', '[::1]:8080', 'localhost.'])
      expect((await ask(app, '/v1/models', undefined, { host })).status, host).toBe(200)
  })
  test('a name that was allowed may, and any address where the server listens on all', async () => {
    const named = serveScript({ names: { host: '127.0.0.1', allowed: ['models.lan'] } }).app
    expect((await ask(named, '/health', undefined, { host: 'models.lan:80' })).status).toBe(200)
    const everywhere = serveScript({ names: { host: '0.0.0.0', allowed: [] } }).app
    expect((await ask(everywhere, '/health', undefined, { host: '192.168.0.1:8080' })).status).toBe(200)
    expect((await ask(everywhere, '/health', undefined, { host: 'evil.example' })).status).toBe(403)
  })
  test('a key is asked for everywhere but at /health', async () => {
    const { app } = serveScript({ apiKey: 'sesame', write: () => [] })
    for (const authorization of ['', 'Bearer', 'Bearer sesam', 'Bearer sesame!', 'Basic sesame', 'sesame'])
      for (const [path, body] of [
        ['/v1/models'],
        ['/metrics'],
        ['/nowhere'],
        ['/v1/chat/completions', chat],
      ] as const) {
        const answer = await ask(app, path, body, { authorization })
        expect(answer.status, `${authorization} ${path}`).toBe(401)
        expect(answer.body.error.code).toBe('invalid_api_key')
        expect(answer.headers.get('www-authenticate')).toBe('Bearer')
      }
    expect((await ask(app, '/health')).status).toBe(200)
    expect((await ask(app, '/v1/chat/completions', chat, { authorization: 'Bearer sesame' })).status).toBe(
      200,
    )
    expect((await ask(app, '/v1/models', undefined, { authorization: 'bearer sesame' })).status).toBe(200)
  })
  test('pages of other origins may not, but for those that --cors names', async () => {
    const origin = 'https://chat.example'
    const preflight = { origin, 'access-control-request-method': 'POST' }
    const options = (app: ReturnType<typeof serveScript>['app'], headers: Record<string, string>) =>
      app.request('/v1/chat/completions', { method: 'OPTIONS', headers: { host: 'localhost', ...headers } })
    const none = serveScript({ write: () => [] }).app
    expect((await options(none, preflight)).headers.get('access-control-allow-origin')).toBeNull()
    const { app } = serveScript({ cors: [origin, 'http://localhost:5173'], apiKey: 'k', write: writes(' a') })
    const allowed = await options(app, preflight)
    expect(allowed.status).toBe(204)
    expect(allowed.headers.get('access-control-allow-origin')).toBe(origin)
    expect(allowed.headers.get('access-control-allow-methods')).toBe('GET,POST')
    const other = await options(app, { ...preflight, origin: 'https://evil.example' })
    expect(other.headers.get('access-control-allow-origin')).toBeNull()
    for (const [body, key] of [
      [chat, 'k'],
      [{ ...chat, stream: true }, 'k'],
      [chat, 'wrong'],
      [{}, 'k'],
    ] as const) {
      const { headers } = await ask(app, '/v1/chat/completions', body, {
        origin,
        authorization: `Bearer ${key}`,
      })
      expect(headers.get('access-control-allow-origin')).toBe(origin)
      expect(headers.get('vary')).toMatch(/origin/i)
    }
  })
})

test('a request that is stopped with the server ends in an error, not in silence', async () => {
  const { app } = serveScript({ context: 1e6, pace: 1 })
  const whole = ask(app, '/v1/chat/completions', chat)
  const stream = ask(app, '/v1/chat/completions', { ...chat, stream: true })
  await new Promise((resolve) => setTimeout(resolve, 50))
  await app.requests.stop(20)
  expect(await whole).toMatchObject({ status: 503, body: { error: { code: 'stopping' } } })
  expect(objectsOf((await stream).body).at(-1)).toMatchObject({ error: { code: 'stopping' } })
  const later = await ask(app, '/v1/chat/completions', chat)
  expect([later.status, later.headers.get('connection')]).toEqual([503, 'close'])
  expect((await ask(app, '/health')).body).toEqual({ status: 'stopping' })
})
