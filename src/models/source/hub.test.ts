import { readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { commit, folderModel, gitSha1, servedHub, sha256, weights } from './hub_server.suite.ts'
import type { SourceProgress } from './resolved.ts'

const hub = servedHub()
const { blobs, repositoryFolder, resolve } = hub

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
  hub.environment.HF_HUB_CACHE = join(hub.folder, 'elsewhere')
  const { path } = await resolve('hf:org/name@refs/pr/7')
  expect(path.startsWith(join(hub.folder, 'elsewhere', 'models--org--name', 'snapshots'))).toBe(true)
  expect(
    await readFile(join(hub.folder, 'elsewhere', 'models--org--name', 'refs', 'refs', 'pr', '7'), 'utf8'),
  ).toBe(commit)
  expect(hub.asked[0]!.path).toBe('/api/models/org/name/revision/refs%2Fpr%2F7')
})
test('a second time asks for the commit only; a pinned commit asks for nothing', async () => {
  await resolve()
  hub.asked.length = 0
  await resolve()
  expect(hub.asked.map(({ path }) => path)).toEqual(['/api/models/org/name/revision/main'])
  hub.asked.length = 0
  expect((await resolve(`hf:org/name@${commit}`)).revision).toBe(commit)
  expect(hub.asked).toEqual([])
})
test('names that would leave the snapshot are as if they were not there', async () => {
  hub.files = {
    ...folderModel,
    '../../../evil.json': Buffer.from('x'),
    'tokenizer\\..\\x.json': Buffer.from('x'),
  }
  const { path } = await resolve()
  expect(hub.asked.filter(({ path }) => path.includes('evil') || path.includes('%5C'))).toEqual([])
  expect((await readdir(path)).sort()).toContain('config.json')
})
test('four calls at once end with one whole model', async () => {
  const all = await Promise.all(Array.from({ length: 4 }, () => resolve()))
  expect(new Set(all.map(({ path }) => path)).size).toBe(1)
  expect((await readFile(join(all[0]!.path, 'model.safetensors'))).equals(weights)).toBe(true)
  expect((await blobs()).filter((name) => name.includes('incomplete'))).toEqual([])
})
test('when the hub is away, a complete copy is named but not used unasked', async () => {
  await resolve()
  hub.before = (_, response) => {
    response.writeHead(503).end()
    return true
  }
  await expect(resolve()).rejects.toThrow(/a complete copy of c{40} is in the cache, set HF_HUB_OFFLINE=1/)
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
