import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { OptionError } from '../../tensor/errors.ts'
import { folderModel, ggufModel, servedHub, sha256, shardedModel, weights } from './hub_server.suite.ts'

const hub = servedHub()
const { repositoryFolder, resolve, storageRequests } = hub

test('one gguf of several is chosen by name, with its own hash; without a name they are listed', async () => {
  hub.files = ggufModel
  await expect(resolve()).rejects.toThrow(
    /A-Q4_0\.gguf, A-Q8_0\.gguf; choose one, for example hf:org\/name\/A-Q4_0\.gguf/,
  )
  const found = await resolve('hf:org/name/A-Q4_0.gguf')
  expect(found).toMatchObject({ sha256: sha256(weights), name: 'A-Q4_0' })
  expect((await readdir(join(found.path, '..'))).sort()).toEqual(['A-Q4_0.gguf', 'LICENSE'])
})
test('a hash pins the gguf, before a byte of it is fetched', async () => {
  hub.files = ggufModel
  const right = `hf:org/name/A-Q4_0.gguf#sha256=${sha256(weights)}`
  await expect(resolve(right.replace(/.{64}$/, '0'.repeat(64)))).rejects.toMatchObject({
    code: 'PARE_E_SOURCE_HASH',
  })
  expect(storageRequests()).toEqual([])
  expect((await resolve(right)).spec).toBe(right)
  hub.files = folderModel
  await rm(repositoryFolder(), { recursive: true })
  await expect(resolve(`hf:org/name#sha256=${sha256(weights)}`)).rejects.toBeInstanceOf(OptionError)
})
test('of shards only those of the index are fetched', async () => {
  hub.files = shardedModel
  const { path } = await resolve()
  expect((await readdir(path)).filter((name) => name.endsWith('.safetensors')).sort()).toEqual([
    'model-1.safetensors',
    'model-2.safetensors',
  ])
})
test('an index that names a shard which is not there is an error', async () => {
  const { 'model-2.safetensors': _, ...rest } = shardedModel
  hub.files = rest
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_INCOMPLETE' })
  hub.files = {
    ...shardedModel,
    'model.safetensors.index.json': Buffer.from('{"weight_map":{"a":"../../x"}}'),
  }
  await rm(repositoryFolder(), { recursive: true })
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_INCOMPLETE' })
})
test('all shards of a gguf are fetched, and a missing one is an error', async () => {
  hub.files = { 'a-00001-of-00002.gguf': Buffer.from('1'), 'a-00002-of-00002.gguf': Buffer.from('2') }
  const { path } = await resolve()
  expect(await readdir(join(path, '..'))).toEqual(['a-00001-of-00002.gguf', 'a-00002-of-00002.gguf'])
  hub.files = { 'a-00001-of-00002.gguf': Buffer.from('1') }
  await rm(repositoryFolder(), { recursive: true })
  await expect(resolve()).rejects.toMatchObject({ code: 'PARE_E_HUB_INCOMPLETE' })
})
