import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { AbortError, OptionError, ResourceError, SourceError } from '../../tensor/errors.ts'
import type { SourceProgress } from './resolved.ts'
import { resolveSource } from './source.ts'

const commit = 'c'.repeat(40)
const token = 'hf_secret'
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const gitSha1 = (bytes: Buffer) =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

const weights = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 255))
const folderModel: Record<string, Buffer> = {
  'config.json': Buffer.from('{"model_type":"llama"}'),
  'tokenizer.json': Buffer.from('{}'),
  'tokenizer_config.json': Buffer.from('{}'),
  'model.safetensors': weights,
  'pytorch_model.bin': Buffer.from('pickled'),
  'modeling_custom.py': Buffer.from('print(1)'),
  LICENSE: Buffer.from('Apache'),
  'README.md': Buffer.from('# Model'),
}
const ggufModel: Record<string, Buffer> = {
  'A-Q4_0.gguf': weights,
  'A-Q8_0.gguf': Buffer.from('eight'),
  LICENSE: Buffer.from('MIT'),
}
const isLarge = (name: string) => /\.(?:safetensors|gguf)$/.test(name)

interface Asked {
  host: 'hub' | 'storage'
  method: string
  path: string
  authorization: string | undefined
  range: string | undefined
}
type Handler = (request: IncomingMessage, response: ServerResponse, asked: Asked) => boolean

/** The hub and, on a port of its own, the storage that large files are redirected to. */
let hub: Server
let storage: Server
let files: Record<string, Buffer>
let asked: Asked[]
/** Answers instead of the host's own answer when it returns true. */
let before: Handler
let folder: string
let environment: NodeJS.ProcessEnv

const addressOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pare-hub-'))
  files = folderModel
  asked = []
  before = () => false
  hub = await listen('hub', answerHub)
  storage = await listen('storage', (request, response) =>
    sendFile(request, response, files[request.url!.slice(1)]!),
  )
  environment = { HOME: folder, HF_HOME: join(folder, 'hf'), HF_ENDPOINT: addressOf(hub) }
})
afterEach(async () => {
  for (const server of [hub, storage]) {
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  }
  await rm(folder, { recursive: true, force: true })
})

async function listen(
  host: Asked['host'],
  answer: (request: IncomingMessage, response: ServerResponse) => void,
) {
  const server = createServer((request, response) => {
    const { authorization, range } = request.headers
    const entry = { host, method: request.method!, path: request.url!, authorization, range }
    asked.push(entry)
    if (!before(request, response, entry)) answer(request, response)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return server
}

function answerHub(request: IncomingMessage, response: ServerResponse): void {
  const path = decodeURIComponent(request.url!)
  if (path.startsWith('/api/models/org/name/revision/')) {
    const siblings = Object.keys(files).map((rfilename) => ({ rfilename }))
    response.end(JSON.stringify({ sha: commit, siblings }))
    return
  }
  const name = path.replace(`/org/name/resolve/${commit}/`, '')
  const content = files[name]
  if (content === undefined) {
    response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end()
  } else if (isLarge(name)) {
    response
      .writeHead(302, {
        location: `${addressOf(storage)}/${name}`,
        'x-linked-etag': `"${sha256(content)}"`,
        'x-linked-size': content.length,
        etag: '"etag-of-the-redirect"',
      })
      .end()
  } else {
    response.setHeader('etag', `W/"${gitSha1(content)}"`)
    sendFile(request, response, content)
  }
}

function sendFile(request: IncomingMessage, response: ServerResponse, content: Buffer): void {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
  if (from >= content.length && from > 0) {
    response.writeHead(416).end()
    return
  }
  const part = content.subarray(from)
  response.writeHead(from > 0 ? 206 : 200, {
    'content-length': part.length,
    ...(from > 0 && { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }),
  })
  response.end(request.method === 'HEAD' ? undefined : part)
}

/** Sends the first `bytes` of a whole answer, then breaks the connection. */
function cut(response: ServerResponse, content: Buffer, bytes: number): true {
  response.writeHead(200, { 'content-length': content.length })
  response.write(content.subarray(0, bytes), () => setTimeout(() => response.destroy(), 20))
  return true
}

const resolve = (spec = 'hf:org/name', options: Parameters<typeof resolveSource>[1] = {}) =>
  resolveSource(spec, { environment, retryDelay: 1, ...options })
const repositoryFolder = () => join(folder, 'hf', 'hub', 'models--org--name')
const blobs = async () => (await readdir(join(repositoryFolder(), 'blobs')).catch(() => [])).sort()
const storageRequests = () => asked.filter(({ host }) => host === 'storage')

test('a model comes in the cache layout of Python, with only the files it needs', async () => {
  const found = await resolve()
  const snapshot = join(repositoryFolder(), 'snapshots', commit)
  expect(found).toEqual({
    spec: 'hf:org/name',
    kind: 'hf',
    path: snapshot,
    sha256: undefined,
    revision: commit,
    licenseFiles: [join(snapshot, 'LICENSE')],
    name: 'name',
  })
  const expected = Object.keys(folderModel).filter((name) => !/\.(?:bin|py)$/.test(name))
  expect((await readdir(snapshot)).sort()).toEqual(expected.sort())
  expect(await readlink(join(snapshot, 'model.safetensors'))).toBe(join('..', '..', 'blobs', sha256(weights)))
  expect(await readlink(join(snapshot, 'config.json'))).toBe(
    join('..', '..', 'blobs', gitSha1(folderModel['config.json']!)),
  )
  expect(await readFile(join(repositoryFolder(), 'refs', 'main'), 'utf8')).toBe(commit)
  expect((await readFile(join(snapshot, 'model.safetensors'))).equals(weights)).toBe(true)
  expect((await blobs()).filter((name) => name.includes('incomplete'))).toEqual([])
})
test('HF_HUB_CACHE moves the cache and a revision gets its own reference', async () => {
  environment.HF_HUB_CACHE = join(folder, 'elsewhere')
  const { path } = await resolve('hf:org/name@refs/pr/7')
  expect(path.startsWith(join(folder, 'elsewhere', 'models--org--name', 'snapshots'))).toBe(true)
  expect(
    await readFile(join(folder, 'elsewhere', 'models--org--name', 'refs', 'refs', 'pr', '7'), 'utf8'),
  ).toBe(commit)
  expect(asked[0]!.path).toBe('/api/models/org/name/revision/refs%2Fpr%2F7')
})
test('a second time asks for the commit only; a pinned commit asks for nothing', async () => {
  await resolve()
  asked.length = 0
  await resolve()
  expect(asked.map(({ path }) => path)).toEqual(['/api/models/org/name/revision/main'])
  asked.length = 0
  expect((await resolve(`hf:org/name@${commit}`)).revision).toBe(commit)
  expect(asked).toEqual([])
})
test('the token goes to the endpoint and never to the host it redirects to', async () => {
  environment.HF_TOKEN = token
  await resolve()
  expect(storageRequests().length).toBeGreaterThan(0)
  for (const { host, authorization } of asked) {
    expect(authorization).toBe(host === 'hub' ? `Bearer ${token}` : undefined)
  }
})
test('the token stays away also when the other host redirects back', async () => {
  environment.HF_TOKEN = token
  let returned = 0
  before = (request, response, { host, path }) => {
    if (host === 'storage') {
      response.writeHead(302, { location: `${addressOf(hub)}/back` }).end()
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
test('the token is read from the token file, and a malformed one is refused without being shown', async () => {
  await mkdir(join(folder, 'hf'))
  await writeFile(join(folder, 'hf', 'token'), `${token}\n`)
  await resolve()
  expect(asked[0]!.authorization).toBe(`Bearer ${token}`)
  environment.HF_TOKEN = 'hf_se\ncret'
  const error = await resolve().catch((thrown: unknown) => thrown as Error)
  expect(error).toBeInstanceOf(SourceError)
  expect((error as Error).message).not.toContain('cret')
})
test('a redirect within the endpoint is followed with the token, for lists, heads and contents', async () => {
  environment.HF_TOKEN = token
  before = (request, response, { host, path }) => {
    if (host !== 'hub' || path.startsWith('/moved')) {
      if (path.startsWith('/moved')) request.url = path.slice(6)
      return false
    }
    response.writeHead(307, { location: `/moved${path}` }).end()
    return true
  }
  await resolve()
  expect(asked.filter(({ host, authorization }) => host === 'hub' && authorization === undefined)).toEqual([])
})

test('a large file with a wrong hash is refused and nothing of it is kept', async () => {
  before = (request, response, { host }) => {
    if (host !== 'storage') return false
    sendFile(request, response, Buffer.alloc(weights.length))
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_SOURCE_HASH', exitCode: 6 })
  expect((await blobs()).filter((name) => name.startsWith(sha256(weights)))).toEqual([])
  await expect(stat(join(repositoryFolder(), 'snapshots', commit, 'model.safetensors'))).rejects.toThrow()
})
test('a small file with a wrong git hash is refused', async () => {
  before = (request, response, { method, path }) => {
    if (method !== 'GET' || !path.endsWith('/config.json')) return false
    sendFile(request, response, Buffer.from('{"model_type":"other"}'))
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_SOURCE_HASH' })
})
test('a file without a hash is refused', async () => {
  before = (request, response, { path }) => {
    if (!path.endsWith('/config.json')) return false
    response.setHeader('etag', '"v1"')
    sendFile(request, response, folderModel['config.json']!)
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_UNVERIFIED' })
})
test('a hash from the other host is not believed', async () => {
  before = (_, response, { host, path }) => {
    if (host !== 'hub' || !path.endsWith('.safetensors')) return false
    response.writeHead(302, { location: `${addressOf(storage)}/model.safetensors` }).end()
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_UNVERIFIED' })
  expect(storageRequests()).toEqual([])
})
test('more bytes than declared are refused before they fill the disk', async () => {
  before = (request, response, { host }) => {
    if (host !== 'storage') return false
    sendFile(request, response, Buffer.concat([weights, weights]))
    return true
  }
  await expect(resolve()).rejects.toThrow(/more/)
})

test('a connection that is cut goes on where it was, in the same call', async () => {
  let cuts = 0
  before = (_, response, { host }) => host === 'storage' && ++cuts === 1 && cut(response, weights, 100_000)
  const { path } = await resolve()
  expect((await readFile(join(path, 'model.safetensors'))).equals(weights)).toBe(true)
  expect(storageRequests().map(({ range }) => range)).toEqual([undefined, 'bytes=100000-'])
})
test('a download that was given up goes on where it was, in the next call', async () => {
  const controller = new AbortController()
  before = (_, response, { host }) => {
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
  before = () => false
  asked.length = 0
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
  before = (request) => {
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
  asked.length = 0
  // Process ids end at 2^22 on Linux, lower elsewhere.
  await leavePartial(weights.subarray(0, 7000), `${working}-99999999-00000000.pare.incomplete`)
  await resolve()
  expect(storageRequests().map(({ range }) => range)).toEqual(['bytes=7000-'])
})
test('four calls at once end with one whole model', async () => {
  const all = await Promise.all(Array.from({ length: 4 }, () => resolve()))
  expect(new Set(all.map(({ path }) => path)).size).toBe(1)
  expect((await readFile(join(all[0]!.path, 'model.safetensors'))).equals(weights)).toBe(true)
  expect((await blobs()).filter((name) => name.includes('incomplete'))).toEqual([])
})

test.each([429, 500, 503, 408])('HTTP %i is tried again', async (status) => {
  let failures = 0
  before = (_, response) => {
    if (failures === 3) return false
    failures++
    response.writeHead(status, { 'retry-after': '0' }).end()
    return true
  }
  await expect(resolve()).resolves.toMatchObject({ kind: 'hf' })
})
test('a server that stays broken is given up after six attempts', async () => {
  before = (_, response) => {
    response.writeHead(503).end()
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_UNREACHABLE' })
  expect(asked).toHaveLength(6)
})
test('a storage that is cut without progress is given up, and the partial file stays for later', async () => {
  await leavePartial(weights.subarray(0, 4000))
  before = (request, response, { host }) => {
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
test('a server that falls silent counts as cut', async () => {
  environment.HF_HUB_DOWNLOAD_TIMEOUT = '0.1'
  let silent = 0
  before = () => ++silent === 1
  await expect(resolve()).resolves.toMatchObject({ kind: 'hf' })
})
test('a wait of more than a minute is reported, not waited', async () => {
  before = (_, response) => {
    response.writeHead(429, { 'retry-after': '3600' }).end()
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_BUSY', facts: { seconds: 3600 } })
})
test('an endpoint that nobody listens on is an error at once', async () => {
  const closed = await listen('hub', answerHub)
  environment.HF_ENDPOINT = addressOf(closed)
  await new Promise((done) => closed.close(done))
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_UNREACHABLE' })
})
test.each([
  [401, 'PARE_E_HUB_REFUSED', /HF_TOKEN/],
  [403, 'PARE_E_HUB_REFUSED', /gated \\u\{9b\}2J/],
  [404, 'PARE_E_SOURCE_NOT_FOUND', /check organisation/],
  [418, 'PARE_E_HUB_ANSWER', /418/],
])('HTTP %i ends in %s, once', async (status, code, message) => {
  before = (_, response) => {
    response.writeHead(status, { 'x-error-message': status === 403 ? 'gated \u009b2J' : '' }).end()
    return true
  }
  await expect(resolve()).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
  expect(asked).toHaveLength(1)
})
test.each(['[]', 'null', '{"sha":"main","siblings":[]}', `{"sha":"${commit}"}`, '{', '{"siblings":[{}]}'])(
  'the answer %s to the question for files is refused',
  async (text) => {
    before = (_, response) => {
      response.end(text)
      return true
    }
    await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_ANSWER' })
  },
)
test('names that would leave the snapshot are as if they were not there', async () => {
  files = {
    ...folderModel,
    '../../../evil.json': Buffer.from('x'),
    'tokenizer\\..\\x.json': Buffer.from('x'),
  }
  const { path } = await resolve()
  expect(asked.filter(({ path }) => path.includes('evil') || path.includes('%5C'))).toEqual([])
  expect((await readdir(path)).sort()).toContain('config.json')
})
test.each(['ftp://host', 'https://user:hunter2@host', 'host', 'https://host/?a=1'])(
  'HF_ENDPOINT=%s is refused unseen',
  async (address) => {
    environment.HF_ENDPOINT = address
    const error = await resolve().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OptionError)
    expect((error as Error).message).not.toContain('hunter2')
  },
)

test('one gguf of several is chosen by name, with its own hash; without a name they are listed', async () => {
  files = ggufModel
  await expect(resolve()).rejects.toThrow(
    /A-Q4_0\.gguf, A-Q8_0\.gguf; choose one, for example hf:org\/name\/A-Q4_0\.gguf/,
  )
  const found = await resolve('hf:org/name/A-Q4_0.gguf')
  expect(found).toMatchObject({ sha256: sha256(weights), name: 'A-Q4_0' })
  expect((await readdir(join(found.path, '..'))).sort()).toEqual(['A-Q4_0.gguf', 'LICENSE'])
})
test('a hash pins the gguf, before a byte of it is fetched', async () => {
  files = ggufModel
  const right = `hf:org/name/A-Q4_0.gguf#sha256=${sha256(weights)}`
  await expect(resolve(right.replace(/.{64}$/, '0'.repeat(64)))).rejects.toMatchObject({
    code: 'PARE_E_SOURCE_HASH',
  })
  expect(storageRequests()).toEqual([])
  expect((await resolve(right)).spec).toBe(right)
  files = folderModel
  await rm(repositoryFolder(), { recursive: true })
  await expect(resolve(`hf:org/name#sha256=${sha256(weights)}`)).rejects.toBeInstanceOf(OptionError)
})
const sharded = {
  'config.json': Buffer.from('{}'),
  'model-1.safetensors': Buffer.from('one'),
  'model-2.safetensors': Buffer.from('two'),
  'consolidated.safetensors': weights,
  'model.safetensors.index.json': Buffer.from(
    '{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors","c":"model-1.safetensors"}}',
  ),
}
test('of shards only those of the index are fetched', async () => {
  files = sharded
  const { path } = await resolve()
  expect((await readdir(path)).filter((name) => name.endsWith('.safetensors')).sort()).toEqual([
    'model-1.safetensors',
    'model-2.safetensors',
  ])
})
test('an index that names a shard which is not there is an error', async () => {
  const { 'model-2.safetensors': _, ...rest } = sharded
  files = rest
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_INCOMPLETE' })
  files = { ...sharded, 'model.safetensors.index.json': Buffer.from('{"weight_map":{"a":"../../x"}}') }
  await rm(repositoryFolder(), { recursive: true })
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_INCOMPLETE' })
})
test('all shards of a gguf are fetched, and a missing one is an error', async () => {
  files = { 'a-00001-of-00002.gguf': Buffer.from('1'), 'a-00002-of-00002.gguf': Buffer.from('2') }
  const { path } = await resolve()
  expect(await readdir(join(path, '..'))).toEqual(['a-00001-of-00002.gguf', 'a-00002-of-00002.gguf'])
  files = { 'a-00001-of-00002.gguf': Buffer.from('1') }
  await rm(repositoryFolder(), { recursive: true })
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_INCOMPLETE' })
})

test('offline gives the same model and asks for nothing', async () => {
  const online = await resolve()
  asked.length = 0
  environment.HF_HUB_OFFLINE = '1'
  expect(await resolve()).toEqual(online)
  expect(asked).toEqual([])
})
test('offline never gives a partial snapshot, whichever file is missing', async () => {
  const { path } = await resolve()
  for (const name of await readdir(path)) {
    const target = await readlink(join(path, name))
    await rm(join(path, name))
    await expect(resolve(undefined, { offline: true })).rejects.toMatchObject({
      code: 'PARE_E_SOURCE_OFFLINE',
      facts: { partial: true },
    })
    await symlink(target, join(path, name))
  }
  await rm(join(repositoryFolder(), 'blobs', sha256(weights)))
  await expect(resolve(undefined, { offline: true })).rejects.toMatchObject({ code: 'PARE_E_SOURCE_OFFLINE' })
})
test('offline after a download that was cut is an error', async () => {
  before = (_, response, { host }) => host === 'storage' && cut(response, weights, 0)
  await expect(resolve()).rejects.toBeInstanceOf(SourceError)
  await expect(resolve(undefined, { offline: true })).rejects.toMatchObject({ code: 'PARE_E_SOURCE_OFFLINE' })
})
test('offline without any copy is an error', async () => {
  await expect(resolve(undefined, { offline: true })).rejects.toMatchObject({ facts: { partial: false } })
})
async function putSnapshot(content: Record<string, Buffer>): Promise<void> {
  const snapshot = join(repositoryFolder(), 'snapshots', commit)
  await mkdir(snapshot, { recursive: true })
  await mkdir(join(repositoryFolder(), 'blobs'), { recursive: true })
  await mkdir(join(repositoryFolder(), 'refs'), { recursive: true })
  await writeFile(join(repositoryFolder(), 'refs', 'main'), commit)
  for (const [name, bytes] of Object.entries(content)) {
    const etag = isLarge(name) ? sha256(bytes) : gitSha1(bytes)
    await writeFile(join(repositoryFolder(), 'blobs', etag), bytes)
    await symlink(join('..', '..', 'blobs', etag), join(snapshot, name))
  }
}
test("a snapshot of Python's is used in place, offline too", async () => {
  await putSnapshot(folderModel)
  expect((await resolve(undefined, { offline: true })).revision).toBe(commit)
  await resolve()
  expect(asked.map(({ path }) => path)).toEqual(['/api/models/org/name/revision/main'])
})
test("a snapshot of Python's with an unfinished download, a missing shard or a missing vocabulary is not complete", async () => {
  await putSnapshot(folderModel)
  const unfinished = join(repositoryFolder(), 'blobs', 'x.incomplete')
  await writeFile(unfinished, '')
  await expect(resolve(undefined, { offline: true })).rejects.toMatchObject({ facts: { partial: true } })
  await rm(unfinished)
  await rm(join(repositoryFolder(), 'snapshots', commit, 'tokenizer.json'))
  await expect(resolve(undefined, { offline: true })).rejects.toMatchObject({ facts: { partial: true } })
  await rm(repositoryFolder(), { recursive: true })
  await putSnapshot({ 'config.json': Buffer.from('{}') })
  await expect(resolve(undefined, { offline: true })).rejects.toMatchObject({ facts: { partial: true } })
  await rm(repositoryFolder(), { recursive: true })
  const { 'model-2.safetensors': _, ...rest } = sharded
  await putSnapshot(rest)
  await expect(resolve(undefined, { offline: true })).rejects.toMatchObject({ facts: { partial: true } })
})
test('a pinned commit of which Python fetched another model is asked for, not guessed', async () => {
  await putSnapshot(ggufModel)
  files = { ...folderModel, ...ggufModel }
  expect((await resolve(`hf:org/name@${commit}`)).path).toBe(join(repositoryFolder(), 'snapshots', commit))
})
test('when the hub is away, a complete copy is named but not used unasked', async () => {
  await resolve()
  before = (_, response) => {
    response.writeHead(503).end()
    return true
  }
  await expect(resolve()).rejects.toThrow(/a complete copy of c{40} is in the cache, set HF_HUB_OFFLINE=1/)
})
test('a file that cannot fit on the disk is refused before it is fetched', async () => {
  before = (_, response, { host, method, path }) => {
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
  before = ((inner) => (request, response, entry) => {
    if (entry.path !== '/x') return inner(request, response, entry)
    response.writeHead(200).end()
    return true
  })(before)
  await expect(resolve()).rejects.toBeInstanceOf(ResourceError)
  expect(storageRequests()).toEqual([])
})
test('progress names each file and ends with all its bytes', async () => {
  const events: SourceProgress[] = []
  await resolve(undefined, { progress: (event) => events.push(event) })
  expect(events[0]!.text).toBe('asking the hub for org/name')
  expect(events.at(-2)).toEqual({
    stage: 'fetch',
    text: 'fetching model.safetensors',
    done: weights.length,
    total: weights.length,
  })
  expect(events.at(-1)).toEqual({
    stage: 'verify',
    text: 'checking model.safetensors',
    total: weights.length,
  })
})
