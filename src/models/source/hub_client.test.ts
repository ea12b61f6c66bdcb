import { expect, test } from 'vitest'
import { closedAddress, commit, sendFile, servedHub, weights } from './hub_server.suite.ts'

const token = 'hf_secret'
const hub = servedHub()
const { resolve, storageRequests } = hub

test('the token goes to the endpoint and never to the host it redirects to', async () => {
  hub.environment.HF_TOKEN = token
  await resolve()
  expect(storageRequests().length).toBeGreaterThan(0)
  for (const { host, authorization } of hub.asked) {
    expect(authorization).toBe(host === 'hub' ? `Bearer ${token}` : undefined)
  }
})
test('the token stays away also when the other host redirects back', async () => {
  hub.environment.HF_TOKEN = token
  let returned = 0
  hub.before = (request, response, { host, path }) => {
    if (host === 'storage') {
      response.writeHead(302, { location: `${hub.address}/back` }).end()
      return true
    }
    if (path !== '/back') return false
    returned++
    expect(request.headers.authorization).toBeUndefined()
    sendFile(request, response, weights)
    return true
  }
  await resolve()
  expect(returned).toBe(1)
})
test('a redirect within the endpoint is followed with the token, for lists, heads and contents', async () => {
  hub.environment.HF_TOKEN = token
  hub.before = (request, response, { host, path }) => {
    if (host !== 'hub' || path.startsWith('/moved')) {
      if (path.startsWith('/moved')) request.url = path.slice(6)
      return false
    }
    response.writeHead(307, { location: `/moved${path}` }).end()
    return true
  }
  await resolve()
  expect(
    hub.asked.filter(({ host, authorization }) => host === 'hub' && authorization === undefined),
  ).toEqual([])
})
test.each([429, 500, 503, 408])('HTTP %i is tried again', async (status) => {
  let failures = 0
  hub.before = (_, response) => {
    if (failures === 3) return false
    failures++
    response.writeHead(status, { 'retry-after': '0' }).end()
    return true
  }
  await expect(resolve()).resolves.toMatchObject({ kind: 'hf' })
})
test('a server that stays broken is given up after six attempts', async () => {
  hub.before = (_, response) => {
    response.writeHead(503).end()
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_UNREACHABLE' })
  expect(hub.asked).toHaveLength(6)
})
test('a server that falls silent counts as cut', async () => {
  hub.environment.HF_HUB_DOWNLOAD_TIMEOUT = '0.1'
  let silent = 0
  hub.before = () => ++silent === 1
  await expect(resolve()).resolves.toMatchObject({ kind: 'hf' })
})
test('a wait of more than a minute is reported, not waited', async () => {
  hub.before = (_, response) => {
    response.writeHead(429, { 'retry-after': '3600' }).end()
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_BUSY', facts: { seconds: 3600 } })
})
test('an endpoint that nobody listens on is an error at once', async () => {
  hub.environment.HF_ENDPOINT = await closedAddress()
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_UNREACHABLE' })
})
test.each([
  [401, 'PARE_E_HUB_REFUSED', /HF_TOKEN/],
  [403, 'PARE_E_HUB_REFUSED', /gated \\u\{9b\}2J/],
  [404, 'PARE_E_SOURCE_NOT_FOUND', /check organisation/],
  [418, 'PARE_E_HUB_ANSWER', /418/],
])('HTTP %i ends in %s, once', async (status, code, message) => {
  hub.before = (_, response) => {
    response.writeHead(status, { 'x-error-message': status === 403 ? 'gated \u009b2J' : '' }).end()
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
  expect(hub.asked).toHaveLength(1)
})
test.each(['[]', 'null', '{"sha":"main","siblings":[]}', `{"sha":"${commit}"}`, '{', '{"siblings":[{}]}'])(
  'the answer %s to the question for files is refused',
  async (text) => {
    hub.before = (_, response) => {
      response.end(text)
      return true
    }
    await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_ANSWER' })
  },
)
