import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { AbortError, OptionError } from '../../tensor/errors.ts'
import { resolveSource } from './source.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pare-source-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function put(...names: string[]): Promise<void> {
  for (const name of names) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), name)
  }
}

test('a file is taken as it is, with the licences beside it', async () => {
  await put('Tiny.gguf', 'other.gguf', 'LICENSE')
  const path = join(folder, 'Tiny.gguf')
  expect(await resolveSource(path)).toEqual({
    spec: path,
    kind: 'path',
    path,
    sha256: undefined,
    licenseFiles: [join(folder, 'LICENSE')],
    name: 'Tiny',
  })
})
test('a folder that is a model is taken, whatever stands inside it too', async () => {
  await put('config.json', 'model.safetensors', 'a.gguf', 'sub/b.gguf')
  expect((await resolveSource(folder)).path).toBe(folder)
})
test.each(['model.onnx', 'onnx/model_q4.onnx'])(
  'a folder with config.json and %s is a model',
  async (name) => {
    await put(name)
    await expect(resolveSource(folder)).rejects.toMatchObject({ code: 'PARE_E_SOURCE_NO_MODEL' })
    await put('config.json')
    expect((await resolveSource(folder)).path).toBe(folder)
  },
)
test('a folder with one model inside gives that model', async () => {
  await put('a/b/Tiny.gguf', 'a/b/c/too-deep.gguf', 'node_modules/x.gguf', '.git/y.gguf', 'COPYING')
  const found = await resolveSource(folder)
  expect(found.path).toBe(join(folder, 'a', 'b', 'Tiny.gguf'))
  expect(found.licenseFiles).toEqual([join(folder, 'COPYING')])
})
test('a folder of links to files, as in the cache of the hub, is read like any other', async () => {
  await put('blobs/1', 'blobs/2')
  await mkdir(join(folder, 'snapshot'))
  await symlink('../blobs/1', join(folder, 'snapshot', 'config.json'))
  await symlink('../blobs/2', join(folder, 'snapshot', 'model.safetensors'))
  await symlink('..', join(folder, 'snapshot', 'circle'))
  expect((await resolveSource(join(folder, 'snapshot'))).path).toBe(join(folder, 'snapshot'))
})
test('a folder with several models lists them as paths that can be passed', async () => {
  await put('a.gguf', 'b.gguf')
  await expect(resolveSource(folder)).rejects.toThrow(join(folder, 'a.gguf'))
  await expect(resolveSource(folder)).rejects.toMatchObject({
    code: 'PARE_E_SOURCE_CANDIDATES',
    facts: { candidates: ['a.gguf', 'b.gguf'] },
  })
})
test('the hash of a file is compared when it is given', async () => {
  await put('a.gguf')
  const path = join(folder, 'a.gguf')
  const sha256 = createHash('sha256').update('a.gguf').digest('hex')
  expect(await resolveSource(`${path}#sha256=${sha256}`)).toMatchObject({ path, sha256 })
  await expect(resolveSource(`${path}#sha256=${'0'.repeat(64)}`)).rejects.toMatchObject({
    code: 'PARE_E_SOURCE_HASH',
  })
  await expect(resolveSource(`${folder}#sha256=${sha256}`)).rejects.toBeInstanceOf(OptionError)
})
test.each([
  ['org/model', /write hf:org\/model/],
  ['demo==1.0', /write pypi:demo==1\.0/],
  ['nothing.gguf', /correct the path/],
])('%s, which is no path, is an error with the likely meaning', async (text, wayOut) => {
  await expect(resolveSource(text)).rejects.toThrow(wayOut)
  await expect(resolveSource(text)).rejects.toMatchObject({ code: 'PARE_E_SOURCE_MISSING', exitCode: 6 })
})
test('a signal that has fired already stops before anything is asked', async () => {
  await expect(resolveSource('pypi:a==1', { signal: AbortSignal.abort() })).rejects.toBeInstanceOf(AbortError)
})
