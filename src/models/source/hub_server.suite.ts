/** A hub on the loopback interface, with a storage host that large files are redirected to. */
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import type { ResolvedSource } from './resolved.ts'
import { resolveSource } from './source.ts'

export const commit = 'c'.repeat(40)
export const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
export const gitSha1 = (bytes: Buffer) =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

export const weights = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 255))
export const folderModel: Record<string, Buffer> = {
  'config.json': Buffer.from('{"model_type":"llama"}'),
  'tokenizer.json': Buffer.from('{}'),
  'tokenizer_config.json': Buffer.from('{}'),
  'model.safetensors': weights,
  'pytorch_model.bin': Buffer.from('pickled'),
  'modeling_custom.py': Buffer.from('print(1)'),
  LICENSE: Buffer.from('Apache'),
  'README.md': Buffer.from('# Model'),
}
export const ggufModel: Record<string, Buffer> = {
  'A-Q4_0.gguf': weights,
  'A-Q8_0.gguf': Buffer.from('eight'),
  LICENSE: Buffer.from('MIT'),
}
export const shardedModel = {
  'config.json': Buffer.from('{}'),
  'model-1.safetensors': Buffer.from('one'),
  'model-2.safetensors': Buffer.from('two'),
  'consolidated.safetensors': weights,
  'model.safetensors.index.json': Buffer.from(
    '{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors","c":"model-1.safetensors"}}',
  ),
}
/** Whether the hub redirects to the storage and names the SHA-256 of the content. */
export const isLarge = (name: string) => /\.(?:safetensors|gguf)$/.test(name)

export interface Asked {
  host: 'hub' | 'storage'
  method: string
  path: string
  authorization: string | undefined
  range: string | undefined
}
type Handler = (request: IncomingMessage, response: ServerResponse, asked: Asked) => boolean

/** What the hub of a test serves, and what it was asked. */
export interface ServedHub {
  files: Record<string, Buffer>
  /** Answers instead of the host's own answer when it returns true. */
  before: Handler
  asked: Asked[]
  /** A folder of its own for each test; the cache is below it. */
  folder: string
  environment: NodeJS.ProcessEnv
  address: string
  storageAddress: string
  resolve(spec?: string, options?: Parameters<typeof resolveSource>[1]): Promise<ResolvedSource>
  /** Where the cache keeps `org/name`. */
  repositoryFolder(): string
  /** Names of all files in the folder of blobs. */
  blobs(): Promise<string[]>
  storageRequests(): Asked[]
}

/** Both hosts, started anew for each test of the file. They serve `folderModel` as `org/name`. */
export function servedHub(): ServedHub {
  let servers: Server[]
  const served: ServedHub = {
    files: folderModel,
    before: () => false,
    asked: [],
    folder: '',
    environment: {},
    address: '',
    storageAddress: '',
    resolve: (spec = 'hf:org/name', options = {}) =>
      resolveSource(spec, { environment: served.environment, retryDelay: 1, ...options }),
    repositoryFolder: () => join(served.folder, 'hf', 'hub', 'models--org--name'),
    blobs: async () => (await readdir(join(served.repositoryFolder(), 'blobs')).catch(() => [])).sort(),
    storageRequests: () => served.asked.filter(({ host }) => host === 'storage'),
  }
  const serve = async (host: Asked['host'], answer: Answer) => {
    const server = createServer((request, response) => {
      const { authorization, range } = request.headers
      const entry = { host, method: request.method!, path: request.url!, authorization, range }
      served.asked.push(entry)
      if (!served.before(request, response, entry)) answer(request, response)
    })
    await listen(server)
    return server
  }
  beforeEach(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pare-hub-'))
    const hub = await serve('hub', (request, response) => answerHub(served, request, response))
    const storage = await serve('storage', (request, response) =>
      sendFile(request, response, served.files[request.url!.slice(1)]!),
    )
    servers = [hub, storage]
    Object.assign(served, {
      files: folderModel,
      before: () => false,
      asked: [],
      folder,
      environment: { HOME: folder, HF_HOME: join(folder, 'hf'), HF_ENDPOINT: addressOf(hub) },
      address: addressOf(hub),
      storageAddress: addressOf(storage),
    } satisfies Partial<ServedHub>)
  })
  afterEach(async () => {
    for (const server of servers) {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    }
    await rm(served.folder, { recursive: true, force: true })
  })
  return served
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void

const listen = (server: Server) => new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
const addressOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

/** The address of a port that nobody listens on any more. */
export async function closedAddress(): Promise<string> {
  const server = createServer()
  await listen(server)
  const address = addressOf(server)
  await new Promise((done) => server.close(done))
  return address
}

function answerHub(
  { files, storageAddress }: ServedHub,
  request: IncomingMessage,
  response: ServerResponse,
): void {
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
        location: `${storageAddress}/${name}`,
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

/** The content, or the part of it that the request's range asks for. */
export function sendFile(request: IncomingMessage, response: ServerResponse, content: Buffer): void {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
  const from = Number(first ?? 0)
  if (first !== undefined && from >= content.length) {
    response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end()
    return
  }
  const end = Math.min(content.length, last ? Number(last) + 1 : content.length)
  const part = content.subarray(from, end)
  response.writeHead(first === undefined ? 200 : 206, {
    'content-length': part.length,
    ...(first !== undefined && { 'content-range': `bytes ${from}-${end - 1}/${content.length}` }),
  })
  response.end(request.method === 'HEAD' ? undefined : part)
}

/** Sends the first `bytes` of a whole answer, then breaks the connection. */
export function cut(response: ServerResponse, content: Buffer, bytes: number): true {
  response.writeHead(200, { 'content-length': content.length })
  response.write(content.subarray(0, bytes), () => setTimeout(() => response.destroy(), 20))
  return true
}
