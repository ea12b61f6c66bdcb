import { createHash } from 'node:crypto'
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { AbortError, ResourceError } from '../../tensor/errors.ts'
import { commit, cut, folderModel, sendFile, servedHub, sha256, weights } from './hub_server.suite.ts'
import type { SourceProgress } from './resolved.ts'

const hub = servedHub()
const { blobs, repositoryFolder, resolve, storageRequests } = hub

test('a large file with a wrong hash is refused and nothing of it is kept', async () => {
  hub.before = (request, response, { host }) => {
    if (host !== 'storage') return false
    sendFile(request, response, Buffer.alloc(weights.length))
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_SOURCE_HASH', exitCode: 6 })
  expect((await blobs()).filter((name) => name.startsWith(sha256(weights)))).toEqual([])
  await expect(stat(join(repositoryFolder(), 'snapshots', commit, 'model.safetensors'))).rejects.toThrow()
})
test('a small file with a wrong git hash is refused', async () => {
  hub.before = (request, response, { method, path }) => {
    if (method !== 'GET' || !path.endsWith('/config.json')) return false
    sendFile(request, response, Buffer.from('{"model_type":"other"}'))
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_SOURCE_HASH' })
})
test('a file without a hash is refused', async () => {
  hub.before = (request, response, { path }) => {
    if (!path.endsWith('/config.json')) return false
    response.setHeader('etag', '"v1"')
    sendFile(request, response, folderModel['config.json']!)
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_UNVERIFIED' })
})
test('a hash from the other host is not believed', async () => {
  hub.before = (_, response, { host, path }) => {
    if (host !== 'hub' || !path.endsWith('.safetensors')) return false
    response.writeHead(302, { location: `${hub.storageAddress}/model.safetensors` }).end()
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_UNVERIFIED' })
  expect(storageRequests()).toEqual([])
})
test('more bytes than declared are refused before they fill the disk', async () => {
  hub.before = (request, response, { host }) => {
    if (host !== 'storage') return false
    sendFile(request, response, Buffer.concat([weights, weights]))
    return true
  }
  await expect(resolve()).rejects.toThrow(/more/)
})
test('a file that cannot fit on the disk is refused before it is fetched', async () => {
  hub.before = (_, response, { host, method, path }) => {
    if (host !== 'hub' || method !== 'HEAD' || !path.endsWith('.safetensors')) return false
    response
      .writeHead(302, {
        location: '/x',
        'x-linked-etag': sha256(weights),
        'x-linked-size': '900000000000000',
      })
      .end()
    return true
  }
  hub.before = ((inner) => (request, response, entry) => {
    if (entry.path !== '/x') return inner(request, response, entry)
    response.writeHead(200).end()
    return true
  })(hub.before)
  await expect(resolve()).rejects.toBeInstanceOf(ResourceError)
  expect(storageRequests()).toEqual([])
})
test('a connection that is cut goes on where it was, in the same call', async () => {
  let cuts = 0
  hub.before = (_, response, { host }) =>
    host === 'storage' && ++cuts === 1 && cut(response, weights, 100_000)
  const { path } = await resolve()
  expect((await readFile(join(path, 'model.safetensors'))).equals(weights)).toBe(true)
  // What the system still held when the connection broke is lost.
  const [first, second, ...more] = storageRequests().map(({ range }) => range)
  expect([first, more]).toEqual([undefined, []])
  const from = Number(/^bytes=(\d+)-$/.exec(second!)![1])
  expect(from).toBeGreaterThan(0)
  expect(from).toBeLessThanOrEqual(100_000)
})
test('a download that was given up goes on where it was, in the next call', async () => {
  const controller = new AbortController()
  hub.before = (_, response, { host }) => {
    if (host !== 'storage') return false
    response.writeHead(200, { 'content-length': weights.length })
    response.write(weights.subarray(0, 120_000))
    return true
  }
  const progress = ({ done }: SourceProgress) => {
    if (done === 120_000) controller.abort()
  }
  // Progress is reported five times a second at most, so the wait below is what ends the call for certain.
  const run = resolve(undefined, { signal: controller.signal, progress })
  const partial = async () => (await blobs()).find((name) => name.endsWith('.pare.incomplete'))
  const size = async (name: string | undefined) =>
    name ? ((await stat(join(repositoryFolder(), 'blobs', name)).catch(() => undefined))?.size ?? 0) : 0
  while ((await size(await partial())) < 120_000) await new Promise((done) => setTimeout(done, 10))
  controller.abort()
  await expect(run).rejects.toBeInstanceOf(AbortError)
  expect(await partial()).toBe(`${sha256(weights)}.pare.incomplete`)
  hub.before = () => false
  hub.asked.length = 0
  const { path } = await resolve()
  expect(storageRequests().map(({ range }) => range)).toEqual(['bytes=120000-'])
  expect((await readFile(join(path, 'model.safetensors'))).equals(weights)).toBe(true)
})
async function leavePartial(content: Buffer, name = `${sha256(weights)}.pare.incomplete`): Promise<void> {
  await mkdir(join(repositoryFolder(), 'blobs'), { recursive: true })
  await writeFile(join(repositoryFolder(), 'blobs', name), content)
}
test('a damaged partial file costs one more download, not a wrong model', async () => {
  await leavePartial(Buffer.alloc(1000, 9))
  const { path } = await resolve()
  expect((await readFile(join(path, 'model.safetensors'))).equals(weights)).toBe(true)
  expect(storageRequests().map(({ range }) => range)).toEqual(['bytes=1000-', undefined])
})
test('a whole partial file is only checked, one that is too long is started again', async () => {
  await leavePartial(weights)
  await resolve()
  expect(storageRequests()).toEqual([])
  await rm(repositoryFolder(), { recursive: true })
  await leavePartial(Buffer.concat([weights, weights]))
  await resolve()
  expect(storageRequests().map(({ range }) => range)).toEqual([undefined])
})
test('a server that knows no ranges is read from the start', async () => {
  await leavePartial(weights.subarray(0, 5000))
  hub.before = (request) => {
    delete request.headers.range
    return false
  }
  const { path } = await resolve()
  expect((await readFile(join(path, 'model.safetensors'))).equals(weights)).toBe(true)
  expect(storageRequests()).toHaveLength(1)
})
test('the partial file of a dead process is taken over, that of a living one is left alone', async () => {
  const working = `${sha256(weights)}.${createHash('sha256').update(hostname()).digest('hex').slice(0, 8)}`
  await leavePartial(weights.subarray(0, 7000), `${working}-${process.pid}-00000000.pare.incomplete`)
  await resolve()
  expect(storageRequests().map(({ range }) => range)).toEqual([undefined])
  await rm(repositoryFolder(), { recursive: true })
  hub.asked.length = 0
  // Process ids end at 2^22 on Linux, lower elsewhere.
  await leavePartial(weights.subarray(0, 7000), `${working}-99999999-00000000.pare.incomplete`)
  await resolve()
  expect(storageRequests().map(({ range }) => range)).toEqual(['bytes=7000-'])
})
test('a storage that is cut without progress is given up, and the partial file stays for later', async () => {
  await leavePartial(weights.subarray(0, 4000))
  hub.before = (request, response, { host }) => {
    if (host !== 'storage') return false
    request.socket.destroy()
    response.destroy()
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_UNREACHABLE' })
  expect((await stat(join(repositoryFolder(), 'blobs', `${sha256(weights)}.pare.incomplete`))).size).toBe(
    4000,
  )
})
