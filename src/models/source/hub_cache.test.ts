import { mkdir, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { SourceError } from '../../tensor/errors.ts'
import {
  commit,
  cut,
  folderModel,
  ggufModel,
  gitSha1,
  isLarge,
  servedHub,
  sha256,
  shardedModel,
  weights,
} from './hub_server.suite.ts'

const hub = servedHub()
const { repositoryFolder, resolve } = hub

test('offline gives the same model and asks for nothing', async () => {
  const online = await resolve()
  hub.asked.length = 0
  hub.environment.HF_HUB_OFFLINE = '1'
  expect(await resolve()).toEqual(online)
  expect(hub.asked).toEqual([])
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
  hub.before = (_, response, { host }) => host === 'storage' && cut(response, weights, 0)
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
  expect(hub.asked.map(({ path }) => path)).toEqual(['/api/models/org/name/revision/main'])
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
  const { 'model-2.safetensors': _, ...rest } = shardedModel
  await putSnapshot(rest)
  await expect(resolve(undefined, { offline: true })).rejects.toMatchObject({ facts: { partial: true } })
})
test('a pinned commit of which Python fetched another model is asked for, not guessed', async () => {
  await putSnapshot(ggufModel)
  hub.files = { ...folderModel, ...ggufModel }
  expect((await resolve(`hf:org/name@${commit}`)).path).toBe(join(repositoryFolder(), 'snapshots', commit))
})
