import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { createShardedSafetensors } from '../formats/safetensors/writer.ts'
import { commit, servedHub, sha256 } from '../models/source/hub_server.suite.ts'
import { inspect, inspectSource } from '../run/inspect.ts'
import { FormatError, SourceError } from '../tensor/errors.ts'
import { writeTinyFolder, writeTinyGguf } from './tiny_model.suite.ts'

const hub = servedHub()
const look = (spec = 'hf:org/name', options: object = {}) =>
  inspectSource(spec, { environment: hub.environment, retryDelay: 1, ...options })
/** The model that the hub serves, on this disk. */
let local: string
/** Lets the hub serve what lies in the folder. */
function serve(folder: string): void {
  const names = readdirSync(folder).filter((name) => statSync(join(folder, name)).isFile())
  hub.files = Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name))]))
}
beforeEach(() => {
  local = writeTinyFolder(join(hub.folder, 'local'))
  serve(local)
})

/** Bytes that the storage was asked for, from and to (exclusive), by file. */
function ranges(): Map<string, [number, number][]> {
  const found = new Map<string, [number, number][]>()
  for (const { path, range } of hub.storageRequests()) {
    const [, from, last] = /^bytes=(\d+)-(\d+)$/.exec(range!)!
    found.set(path, [...(found.get(path) ?? []), [Number(from), Number(last) + 1]])
  }
  return found
}
const headerEnd = (file: Buffer) => 8 + Number(file.readBigUInt64LE(0))

/** Deals the weights of the local folder to files of 30 kB. */
function shard(): void {
  const archive = openSafetensors(local)
  const infos = [...archive.tensors.values()].map(({ name, type, shape }) => ({ name, type, shape }))
  const target = join(hub.folder, 'sharded')
  mkdirSync(target)
  const writer = createShardedSafetensors(target, infos, { maxShardBytes: 30_000 })
  for (const { name } of infos) writer.append(name, archive.read(name))
  writer.finish()
  archive.close()
  for (const name of readdirSync(local))
    if (name !== 'model.safetensors') writeFileSync(join(target, name), readFileSync(join(local, name)))
  local = target
  serve(local)
}

describe('a model of the hub is described as the same files on a disk are', () => {
  const expected = () => {
    const { path: _, support, ...rest } = inspect(local)
    return { ...rest, support: support.map(({ step, possible }) => ({ step, possible })) }
  }
  const found = async () => {
    const { path, headersOf, support, ...rest } = await look()
    expect([path, headersOf]).toEqual(['hf:org/name', commit])
    return { ...rest, support: support.map(({ step, possible }) => ({ step, possible })) }
  }

  test('one file: no byte behind the header is asked for', async () => {
    expect(await found()).toEqual(expected())
    expect(expected().support.filter(({ possible }) => possible).length).toBeGreaterThan(2)
    const end = headerEnd(hub.files['model.safetensors']!)
    expect([...ranges()]).toEqual([
      [
        '/model.safetensors',
        [
          [0, 8],
          [8, end],
        ],
      ],
    ])
  })
  test('shards: every one is asked for its header, and the index says what they hold', async () => {
    shard()
    expect(await found()).toEqual(expected())
    const asked = ranges()
    expect(asked.size).toBeGreaterThan(2)
    for (const [path, parts] of asked)
      expect(parts).toEqual([
        [0, 8],
        [8, headerEnd(hub.files[path.slice(1)]!)],
      ])
  })
  test('GGUF: ranges grow until the header is whole', async () => {
    const extraTokens = Array.from({ length: 9000 }, (_, i) => `a token of some length, number ${i}`)
    local = writeTinyGguf(join(hub.folder, 'tiny.gguf'), { hidden: 256, extraTokens })
    const file = readFileSync(local)
    hub.files = { 'tiny.gguf': file }
    expect(await found()).toEqual(expected())
    const [parts] = [...ranges().values()]
    // Each range begins where the one before it ends, and all together are at most twice the header.
    expect(parts!.length).toBeGreaterThan(2)
    for (const [i, [from]] of parts!.entries()) expect(from).toBe(i === 0 ? 0 : parts![i - 1]![1])
    expect(parts!.at(-1)![1]).toBeLessThan(file.length / 2)
  })
})

test('a hash in the source is held against the one that the hub declares', async () => {
  local = writeTinyGguf(join(hub.folder, 'tiny.gguf'))
  const file = readFileSync(local)
  hub.files = { 'tiny.gguf': file }
  expect((await look(`hf:org/name#sha256=${sha256(file)}`)).tensors.length).toBeGreaterThan(10)
  await expect(look(`hf:org/name#sha256=${'0'.repeat(64)}`)).rejects.toMatchObject({
    code: 'PARE_E_SOURCE_HASH',
  })
})
test('nothing of the weights is kept, and the branch still names what is here whole', async () => {
  await look()
  const snapshot = join(hub.repositoryFolder(), 'snapshots', commit)
  expect(existsSync(join(snapshot, 'config.json'))).toBe(true)
  expect(existsSync(join(snapshot, 'model.safetensors'))).toBe(false)
  expect(existsSync(join(hub.repositoryFolder(), 'refs'))).toBe(false)
  await expect(look('hf:org/name', { offline: true })).rejects.toMatchObject({
    code: 'PARE_E_SOURCE_OFFLINE',
  })
})
test('what is whole in the cache is read from there, offline too', async () => {
  await hub.resolve()
  const before = hub.storageRequests().length
  const online = await look()
  expect(online.headersOf).toBeUndefined()
  expect(online.path).toContain(commit)
  expect(hub.storageRequests()).toHaveLength(before)
  const asked = hub.asked.length
  expect(await look('hf:org/name', { offline: true })).toEqual(online)
  expect(hub.asked).toHaveLength(asked)
})
test('a model that Pare does not compute is listed, with what its files say and the reason', async () => {
  const config = JSON.parse(readFileSync(join(local, 'config.json'), 'utf8'))
  const serveConfig = (change: object) => {
    hub.files = { ...hub.files, 'config.json': Buffer.from(JSON.stringify({ ...config, ...change })) }
  }
  serveConfig({ quantization_config: { quant_method: 'new-method', bits: { linear: 3 } } })
  const { metadata, tensors, reason, supported, support } = await look()
  expect(metadata).toContainEqual({ key: 'quantization_config.quant_method', value: '"new-method"' })
  expect(metadata).toContainEqual({ key: 'quantization_config.bits.linear', value: '3' })
  expect(tensors.length).toBeGreaterThan(10)
  expect(supported).toBeUndefined()
  expect(reason).toMatch(/new-method/)
  expect(support.every((step) => !step.possible && step.reason === reason)).toBe(true)
})
test('a cut connection is tried again', async () => {
  let cuts = 0
  hub.before = (_, response, { host, range }) => {
    if (host !== 'storage' || range === 'bytes=0-7' || cuts === 2) return false
    cuts += 1
    const size = hub.files['model.safetensors']!.length
    response.writeHead(206, { 'content-range': `bytes 8-${size - 1}/${size}`, 'content-length': size - 8 })
    response.write('{', () => setTimeout(() => response.destroy(), 20))
    return true
  }
  expect((await look()).tensors.length).toBeGreaterThan(10)
  expect(cuts).toBe(2)
})
test('a server without ranges, and a header that lies, are refused before anything large is fetched', async () => {
  const file = hub.files['model.safetensors']!
  hub.before = (request) => {
    delete request.headers.range
    return false
  }
  await expect(look()).rejects.toThrow(SourceError)
  hub.before = () => false
  const lying = Buffer.from(file)
  lying.writeBigUInt64LE(2n ** 40n)
  hub.files = { ...hub.files, 'model.safetensors': lying }
  hub.asked.length = 0
  await expect(look()).rejects.toThrow(FormatError)
  expect([...ranges().values()]).toEqual([[[0, 8]]])
})
