import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { AbortError, SourceError } from '../../tensor/errors.ts'
import { makeTarGz, makeZip } from './archives.suite.ts'
import type { SourceProgress } from './resolved.ts'
import { resolveSource } from './source.ts'

let folder: string
let cacheFolder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pare-package-'))
  cacheFolder = join(folder, 'cache')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const text = (value: string) => Buffer.from(value)
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const wheel = makeZip([
  { name: 'demo/__init__.py', content: text('raise SystemExit("run")') },
  { name: 'demo/Tiny.Q4_0.gguf', content: text('GGUF weights'), method: 8 },
  { name: 'demo-1.0.dist-info/licenses/LICENSE', content: text('MIT') },
  { name: 'demo-1.0.dist-info/METADATA', content: text('Name: demo') },
])
const twoModels = makeZip([
  { name: 'demo/a.gguf', content: text('A') },
  { name: 'demo/b.gguf', content: text('B') },
])
const tarball = makeTarGz([
  { name: 'package/package.json', content: text('{"scripts":{"install":"exit 1"}}') },
  { name: 'package/model/config.json', content: text('{}') },
  { name: 'package/model/model.safetensors', content: text('weights') },
  { name: 'package/LICENSE.md', content: text('Apache') },
])

/**
 * A registry client that writes `archive` into the folder after `flag`, notes how it was called, and runs
 * `script` (JavaScript, with `folder` in scope) instead where given.
 */
async function fakeClient(
  flag: '--dest' | '--pack-destination',
  fileName: string,
  archive: Buffer,
  script?: string,
) {
  const program = join(folder, `client-${Math.random().toString(36).slice(2)}.mjs`)
  await writeFile(join(folder, 'archive'), archive)
  await writeFile(
    program,
    `import { appendFileSync, copyFileSync, readdirSync, writeFileSync } from 'node:fs'
const parameters = process.argv.slice(2)
appendFileSync(${JSON.stringify(join(folder, 'calls.jsonl'))}, JSON.stringify({ parameters, cwd: readdirSync('.'), tmp: process.env.TMPDIR === process.cwd() }) + '\\n')
const folder = parameters[parameters.indexOf(${JSON.stringify(flag)}) + 1]
${script ?? `copyFileSync(${JSON.stringify(join(folder, 'archive'))}, folder + '/' + ${JSON.stringify(fileName)})`}
`,
  )
  return program
}
const fakePip = async (archive = wheel, script?: string) => ({
  PARE_PIP: await fakeClient('--dest', 'demo-1.0-py3-none-any.whl', archive, script),
})
const fakeNpm = async (archive = tarball, script?: string) => ({
  PARE_NPM: await fakeClient('--pack-destination', 'scope-demo-1.0.0.tgz', archive, script),
})
async function calls(): Promise<{ parameters: string[]; cwd: string[]; tmp: boolean }[]> {
  const lines = await readFile(join(folder, 'calls.jsonl'), 'utf8').catch(() => '')
  return lines
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}
const workFolders = async () =>
  (await readdir(join(cacheFolder, 'sources'))).filter((name) => name.startsWith('.work-'))

test('a wheel gives its model, its licence and its own hash, and none of its code', async () => {
  const events: SourceProgress[] = []
  const progress = (event: SourceProgress) => events.push(event)
  const found = await resolveSource('pypi:Demo==1.0', { cacheFolder, environment: await fakePip(), progress })
  expect(found).toMatchObject({
    spec: 'pypi:Demo==1.0',
    kind: 'pypi',
    sha256: sha256(wheel),
    name: 'Tiny.Q4_0',
  })
  expect(await readFile(found.path, 'utf8')).toBe('GGUF weights')
  expect(await Promise.all(found.licenseFiles.map((path) => readFile(path, 'utf8')))).toEqual(['MIT'])
  const files = await readdir(join(found.path, '..', '..'), { recursive: true })
  expect(files.filter((name) => /\.py$|METADATA/.test(name))).toEqual([])
  expect(events.map(({ stage }) => stage)).toEqual(expect.arrayContaining(['fetch', 'verify', 'unpack']))
  expect(await workFolders()).toEqual([])
})
test('pip is asked for one exact wheel, after --, in an empty folder that is its temporary one too', async () => {
  await resolveSource('pypi:demo==1.0', { cacheFolder, environment: await fakePip() })
  const [call] = await calls()
  const { parameters, cwd, tmp } = call!
  expect(parameters.slice(0, 4)).toEqual(['download', '--no-deps', '--only-binary', ':all:'])
  expect(parameters.slice(-2)).toEqual(['--', 'demo==1.0'])
  expect([cwd, tmp]).toEqual([[], true])
})
test('npm is asked for one exact tarball, after --, with scripts off; the model may be a folder', async () => {
  const found = await resolveSource('npm:@scope/demo@1.0.0', { cacheFolder, environment: await fakeNpm() })
  expect(found).toMatchObject({ kind: 'npm', sha256: sha256(tarball), name: 'demo' })
  expect((await readdir(found.path)).sort()).toEqual(['config.json', 'model.safetensors'])
  expect(found.licenseFiles.map((path) => path.slice(-10))).toEqual(['LICENSE.md'])
  const [call] = await calls()
  expect(call!.parameters.slice(0, 2)).toEqual(['pack', '--ignore-scripts'])
  expect(call!.parameters.slice(-2)).toEqual(['--', '@scope/demo@1.0.0'])
})
test('a second time the cache answers, also offline, under every spelling of the name', async () => {
  const environment = await fakePip()
  const first = await resolveSource('pypi:demo==1.0', { cacheFolder, environment })
  const again = await resolveSource('pypi:DEMO==1.0', { cacheFolder, environment, offline: true })
  expect(again).toEqual({ ...first, spec: 'pypi:DEMO==1.0' })
  expect(await calls()).toHaveLength(1)
})
test('offline without a copy is an error that says so and calls nothing', async () => {
  const run = resolveSource('pypi:demo==1.0', { cacheFolder, environment: await fakePip(), offline: true })
  await expect(run).rejects.toMatchObject({ code: 'PARE_E_SOURCE_OFFLINE', exitCode: 6 })
  expect(await calls()).toEqual([])
})
test('the hash after # must be that of the archive, in the cache too', async () => {
  const environment = await fakePip()
  const wrong = `pypi:demo==1.0#sha256=${'0'.repeat(64)}`
  await expect(resolveSource(wrong, { cacheFolder, environment })).rejects.toMatchObject({
    code: 'PARE_E_SOURCE_HASH',
  })
  expect(existsSync(join(cacheFolder, 'sources', 'pypi'))).toBe(false)
  const right = `pypi:demo==1.0#sha256=${sha256(wheel)}`
  expect((await resolveSource(right, { cacheFolder, environment })).spec).toBe(right)
  await expect(resolveSource(wrong, { cacheFolder, environment })).rejects.toMatchObject({
    code: 'PARE_E_SOURCE_HASH',
  })
})
test('a marker records what was fetched, with a hash for every file', async () => {
  const { path } = await resolveSource('pypi:demo==1.0', { cacheFolder, environment: await fakePip() })
  const marker = JSON.parse(await readFile(join(path, '..', '..', 'pare-source.json'), 'utf8'))
  expect(marker).toMatchObject({
    name: 'demo',
    version: '1.0',
    archive: { file: 'demo-1.0-py3-none-any.whl', bytes: wheel.length, sha256: sha256(wheel) },
    model: 'demo/Tiny.Q4_0.gguf',
  })
  expect(marker.files).toContainEqual({
    path: 'demo/Tiny.Q4_0.gguf',
    bytes: 12,
    sha256: sha256(text('GGUF weights')),
  })
})
test('of several models none is taken unasked; /MEMBER chooses and each choice has its own place', async () => {
  const environment = await fakePip(twoModels)
  const run = resolveSource('pypi:demo==1.0', { cacheFolder, environment })
  await expect(run).rejects.toThrow(
    /found 2 models: demo\/a\.gguf, demo\/b\.gguf; .*pypi:demo==1\.0\/demo\/a\.gguf/,
  )
  const a = await resolveSource('pypi:demo==1.0/demo/a.gguf', { cacheFolder, environment })
  const b = await resolveSource('pypi:demo==1.0/demo/b.gguf', { cacheFolder, environment })
  expect([await readFile(a.path, 'utf8'), await readFile(b.path, 'utf8')]).toEqual(['A', 'B'])
  expect(await readdir(join(a.path, '..'))).toEqual(['a.gguf'])
})
test('a cached folder that lost a file is fetched again and mended', async () => {
  const environment = await fakePip()
  const first = await resolveSource('pypi:demo==1.0', { cacheFolder, environment })
  await rm(first.path)
  await expect(resolveSource('pypi:demo==1.0', { cacheFolder, offline: true })).rejects.toBeInstanceOf(
    SourceError,
  )
  expect(await resolveSource('pypi:demo==1.0', { cacheFolder, environment })).toEqual(first)
  expect(await readFile(first.path, 'utf8')).toBe('GGUF weights')
})
test('eight at once end with the same whole folder', async () => {
  const environment = await fakePip()
  const all = await Promise.all(
    Array.from({ length: 8 }, () => resolveSource('pypi:demo==1.0', { cacheFolder, environment })),
  )
  expect(new Set(all.map(({ path }) => path)).size).toBe(1)
  expect(await readFile(all[0]!.path, 'utf8')).toBe('GGUF weights')
  expect(await workFolders()).toEqual([])
})
test('a hostile archive leaves nothing behind', async () => {
  const hostile = makeZip([
    { name: 'demo/a.gguf', content: text('A') },
    { name: '../../evil', content: text('x') },
  ])
  const run = resolveSource('pypi:demo==1.0', { cacheFolder, environment: await fakePip(hostile) })
  await expect(run).rejects.toMatchObject({ code: 'PARE_E_ARCHIVE_UNSAFE' })
  expect(await readdir(join(cacheFolder, 'sources'))).toEqual([])
})
test('limits of unpacking can be set', async () => {
  const run = resolveSource('pypi:demo==1.0', {
    cacheFolder,
    environment: await fakePip(),
    limits: { memberBytes: 11 },
  })
  await expect(run).rejects.toMatchObject({ code: 'PARE_E_ARCHIVE_LIMIT' })
})
test('a package without a model says what would be one', async () => {
  const empty = makeZip([{ name: 'demo/__init__.py' }])
  const run = resolveSource('pypi:demo==1.0', { cacheFolder, environment: await fakePip(empty) })
  await expect(run).rejects.toMatchObject({ code: 'PARE_E_SOURCE_NO_MODEL' })
})
test('a missing client is an error that says what to install', async () => {
  const environment = { PARE_PIP: join(folder, 'nothing'), PARE_NPM: join(folder, 'nothing') }
  const pip = resolveSource('pypi:demo==1.0', { cacheFolder, environment })
  await expect(pip).rejects.toMatchObject({
    code: 'PARE_E_SOURCE_CLIENT',
    message: expect.stringMatching(/install Python 3 with pip/),
  })
  const npm = resolveSource('npm:demo@1.0.0', { cacheFolder, environment })
  await expect(npm).rejects.toMatchObject({
    code: 'PARE_E_SOURCE_CLIENT',
    message: expect.stringMatching(/install npm/),
  })
})
test('a Python without pip is as if it were not there', async () => {
  const environment = await fakePip(
    wheel,
    `console.error('python3: No module named pip'); process.exitCode = 1`,
  )
  await expect(resolveSource('pypi:demo==1.0', { cacheFolder, environment })).rejects.toMatchObject({
    code: 'PARE_E_SOURCE_CLIENT',
  })
})
test.each([
  ['ERROR: No matching distribution found for demo==1.0', 'PARE_E_SOURCE_NOT_FOUND'],
  ['ERROR: Cannot reach //user:secret@index.example', 'PARE_E_SOURCE_FETCH'],
  [
    'WARNING: Retrying (Retry(total=0)) after NewConnectionError\\nERROR: No matching distribution found for demo',
    'PARE_E_SOURCE_FETCH',
  ],
])('a client that ends with %j ends in %s, and passwords are not repeated', async (line, code) => {
  const environment = await fakePip(wheel, `console.error('${line}'); process.exitCode = 1`)
  const error = await resolveSource('pypi:demo==1.0', { cacheFolder, environment }).catch(
    (thrown: unknown) => thrown,
  )
  expect(error).toMatchObject({ code, exitCode: 6 })
  expect(JSON.stringify([(error as Error).message, error])).not.toContain('secret')
})
test('a client that leaves no archive is an error', async () => {
  const run = resolveSource('npm:demo@1.0.0', { cacheFolder, environment: await fakeNpm(tarball, 'void 0') })
  await expect(run).rejects.toThrow(/must leave one archive, it left 0/)
})
test('an abort ends the client and removes what it wrote', async () => {
  const pidFile = join(folder, 'pid')
  const environment = await fakePip(
    wheel,
    `writeFileSync(folder + '/partial', 'x'); writeFileSync(${JSON.stringify(pidFile)}, String(process.pid)); setInterval(() => {}, 1000)`,
  )
  const controller = new AbortController()
  const run = resolveSource('pypi:demo==1.0', { cacheFolder, environment, signal: controller.signal })
  const ended = expect(run).rejects.toBeInstanceOf(AbortError)
  while (!existsSync(pidFile) || (await readFile(pidFile, 'utf8')) === '')
    await new Promise((done) => setTimeout(done, 20))
  controller.abort()
  await ended
  const pid = Number(await readFile(pidFile, 'utf8'))
  expect(() => process.kill(pid, 0)).toThrow(/ESRCH/)
  expect(await workFolders()).toEqual([])
})
test('a work folder that a killed process left is removed after a day, a younger one is not', async () => {
  const [old, young] = [
    join(cacheFolder, 'sources', '.work-old'),
    join(cacheFolder, 'sources', '.work-young'),
  ]
  await mkdir(old, { recursive: true })
  await mkdir(young)
  const yesterday = new Date(Date.now() - 25 * 3600 * 1000)
  await utimes(old, yesterday, yesterday)
  await resolveSource('pypi:demo==1.0', { cacheFolder, environment: await fakePip() })
  expect(await workFolders()).toEqual(['.work-young'])
})
// A superuser may write anywhere, and Windows has other permissions.
test.skipIf(process.getuid?.() === 0 || process.platform === 'win32')(
  'a cache that cannot be written is named',
  async () => {
    await mkdir(cacheFolder)
    await chmod(cacheFolder, 0o500)
    const run = resolveSource('pypi:demo==1.0', { cacheFolder, environment: await fakePip() })
    await expect(run).rejects.toMatchObject({ code: 'PARE_E_SOURCE_CACHE' })
  },
)
