import { beforeEach, expect, test } from 'vitest'
import { HubClient } from './hub_client.ts'
import { commit, sendFile, servedHub, sha256, weights } from './hub_server.suite.ts'

const hub = servedHub()
let client: HubClient
beforeEach(() => {
  client = new HubClient({
    endpoint: new URL(hub.address),
    token: 'hf_secret',
    timeout: 5000,
    retryDelay: 1,
    subject: 'hf:org/name',
  })
})
const address = `org/name/resolve/${commit}/model.safetensors`

test('a range has its bytes and the size of the file, and the token stays with the hub', async () => {
  const { bytes, size } = await client.range(address, 100, 164)
  expect(size).toBe(weights.length)
  expect(Buffer.from(bytes).equals(weights.subarray(100, 164))).toBe(true)
  expect(hub.storageRequests()).toMatchObject([{ range: 'bytes=100-163', authorization: undefined }])
})
test('a range past the end has what there is', async () => {
  const end = weights.length
  expect((await client.range(address, end - 3, end + 50)).bytes).toHaveLength(3)
  hub.files = { 'model.safetensors': Buffer.alloc(0) }
  expect(await client.range(address, 0, 8)).toMatchObject({ size: 0, bytes: new Uint8Array(0) })
})
test('a server without ranges gives the beginning, and no more of it is read', async () => {
  hub.before = (request, response, { host }) => {
    if (host === 'hub') return false
    delete request.headers.range
    sendFile(request, response, weights)
    return true
  }
  const { bytes, size } = await client.range(address, 0, 8)
  expect([sha256(Buffer.from(bytes)), size]).toEqual([sha256(weights.subarray(0, 8)), weights.length])
  await expect(client.range(address, 8, 16)).rejects.toMatchObject({ code: 'PARE_E_HUB_ANSWER' })
})
test.each([
  ['another place', { 'content-range': 'bytes 0-7/300000' }],
  ['no size', { 'content-range': 'bytes 8-15/*' }],
  ['no range', {}],
])('an answer with %s is refused', async (_, headers) => {
  hub.before = (__, response, { host }) => {
    if (host === 'hub') return false
    response.writeHead(206, headers as Record<string, string>).end(Buffer.alloc(8))
    return true
  }
  await expect(client.range(address, 8, 16)).rejects.toMatchObject({ code: 'PARE_E_HUB_ANSWER' })
})
