import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { AbortError, FormatError, PareError } from '../../tensor/errors.ts'
import { type ArchiveLimits, defaultLimits, extractMembers } from './archive.ts'
import { makeZip, type ZipEntry } from './archives.suite.ts'
import { openZip } from './zip.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pare-zip-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const text = (value: string) => Buffer.from(value)
const plain: ZipEntry = { name: 'pkg/a.gguf', content: text('GGUF') }

async function open(bytes: Buffer, limits: Partial<ArchiveLimits> = {}) {
  const path = join(folder, 'a.whl')
  await writeFile(path, bytes)
  return openZip(path, { ...defaultLimits, ...limits })
}
async function extractAll(bytes: Buffer, limits: Partial<ArchiveLimits> = {}) {
  const archive = await open(bytes, limits)
  const names = new Set(archive.members.map(({ name }) => name))
  return extractMembers(archive, names, folder, { limits: { ...defaultLimits, ...limits } })
}

test('stored and deflated members come out as they went in, with their size and SHA-256', async () => {
  const zeros = Buffer.alloc(3_000_000)
  const files = await extractAll(
    makeZip([
      plain,
      { name: 'pkg/' },
      { name: 'pkg/z', content: zeros, method: 8 },
      { name: 'empty', method: 8 },
    ]),
  )
  expect(files.map(({ path, bytes }) => [path, bytes])).toEqual([
    ['pkg/a.gguf', 4],
    ['pkg/z', 3_000_000],
    ['empty', 0],
  ])
  // sha256sum of no bytes
  expect(files[2]!.sha256).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  expect(await readFile(join(folder, 'pkg/a.gguf'), 'utf8')).toBe('GGUF')
  expect((await readFile(join(folder, 'pkg/z'))).equals(zeros)).toBe(true)
})
test('zip64 records and fields are read', async () => {
  const bytes = makeZip(
    [
      { ...plain, zip64: true },
      { name: 'b', content: text('b'), zip64: true, method: 8 },
    ],
    { zip64: true },
  )
  expect((await extractAll(bytes)).map(({ path, bytes }) => [path, bytes])).toEqual([
    ['pkg/a.gguf', 4],
    ['b', 1],
  ])
})
test('a comment behind the end record is allowed', async () => {
  expect(await extractAll(makeZip([plain], { comment: 'PK\x05\x06 is not a record' }))).toHaveLength(1)
})
test('only the chosen members are written', async () => {
  const archive = await open(makeZip([plain, { name: 'pkg/setup.py', content: text('x') }]))
  await extractMembers(archive, new Set(['pkg/a.gguf']), folder)
  expect(await readdir(join(folder, 'pkg'))).toEqual(['a.gguf'])
})

const link = 0o120777
test.each<[string, ZipEntry[], string]>([
  ['a symbolic link', [plain, { name: 'l', content: text('/etc/passwd'), mode: link }], 'link'],
  ['a device', [{ name: 'd', mode: 0o020666 }], 'regular'],
  ['an absolute name', [{ name: '/etc/cron' }], 'absolute'],
  ['a climbing name', [{ name: 'a/../../b' }], '..'],
  ['a backslash', [{ name: 'a\\..\\b' }], 'backslash'],
  ['a NUL', [{ name: 'a\0.gguf' }], 'control'],
  ['a drive', [{ name: 'C:evil' }], 'reserve'],
  ['a device name', [{ name: 'pkg/aux.gguf' }], 'device'],
  ['a name twice', [plain, plain], 'twice'],
  ['a file that is also a folder', [{ name: 'x' }, { name: 'x/' }], 'twice'],
  ['an encrypted member', [{ ...plain, flags: 0x801 }], 'encrypted'],
  ['members that share bytes', [plain, { ...plain, name: 'pkg/b.gguf', sharesHeaderOf: 0 }], 'overlaps'],
])('%s makes the whole archive refused', async (_, entries, reason) => {
  const error = await open(makeZip(entries)).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(FormatError)
  expect(error).toMatchObject({ code: 'PARE_E_ARCHIVE_UNSAFE', message: expect.stringContaining(reason) })
})
test('a local header with another name is refused', async () => {
  await expect(extractAll(makeZip([{ ...plain, localName: 'pkg/b.gguf' }]))).rejects.toThrow(/disagree/)
})
test.each([0, 8] as const)('a wrong checksum is found, method %i', async (method) => {
  await expect(extractAll(makeZip([{ ...plain, method, crc: 1 }]))).rejects.toThrow(/checksum/)
})
test('a member that unpacks to more than it declares is stopped at the declared size', async () => {
  const bomb = makeZip([{ name: 'z', content: Buffer.alloc(50_000_000), method: 8, declaredBytes: 1000 }])
  let written = 0
  const archive = await open(bomb)
  const run = extractMembers(archive, new Set(['z']), folder, { progress: (done) => (written = done) })
  await expect(run).rejects.toThrow(/declares 1000 bytes and unpacks to more/)
  expect(written).toBeLessThanOrEqual(1000)
})
test('a member that unpacks to less than it declares is damaged', async () => {
  await expect(extractAll(makeZip([{ ...plain, method: 8, declaredBytes: 5 }]))).rejects.toThrow(
    /declares 5 bytes and has 4/,
  )
})
test('an honest bomb is stopped by its ratio', async () => {
  const bomb = makeZip([{ name: 'z', content: Buffer.alloc(80 * 2 ** 20), method: 8 }])
  await expect(extractAll(bomb)).rejects.toThrow(/bombs/)
})
test('limits of entries, of one member and of all are kept', async () => {
  const three = makeZip([plain, { name: 'b', content: text('bb') }, { name: 'c' }])
  await expect(open(three, { entries: 2 })).rejects.toThrow(/more than 2 members/)
  await expect(open(three, { memberBytes: 3 })).rejects.toThrow(/limit is 3/)
  await expect(extractAll(three, { totalBytes: 5 })).rejects.toThrow(/6 bytes, the limit is 5/)
  await expect(extractAll(three, { entries: 3, memberBytes: 4, totalBytes: 6 })).resolves.toHaveLength(3)
})
test.each([
  ['fewer entries than counted', makeZip([plain], { entryCount: 2 })],
  ['more entries than counted', makeZip([plain, { name: 'b' }], { entryCount: 1 })],
  ['bytes before the archive', Buffer.concat([text('#!/bin/sh\n'), makeZip([plain])])],
  ['bytes after the archive', Buffer.concat([makeZip([plain]), text('tail')])],
  ['nothing', Buffer.alloc(0)],
  ['no archive', Buffer.alloc(70_000, 1)],
  ['a name that is not UTF-8', makeZip([{ name: Buffer.from([0xff, 0xfe]) }])],
])('%s: damaged', async (_, bytes) => {
  await expect(open(bytes)).rejects.toMatchObject({ code: 'PARE_E_ARCHIVE' })
})
test('a packed size that ends inside the stream is damaged', async () => {
  const content = Buffer.from(Array.from({ length: 400 }, (_, i) => (i * 89) & 255))
  const declaredPacked = deflateRawSync(content).length - 3
  await expect(extractAll(makeZip([{ name: 'z', content, method: 8, declaredPacked }]))).rejects.toThrow(
    FormatError,
  )
})
test('an archive that is cut or has a flipped bit anywhere ends in a typed error or in the same bytes', async () => {
  const whole = makeZip([plain, { name: 'b', content: text('hello hello hello'), method: 8, zip64: true }], {
    zip64: true,
  })
  const changed = fc.oneof(
    fc.nat(whole.length - 1).map((length) => whole.subarray(0, length)),
    fc.tuple(fc.nat(whole.length - 1), fc.nat(7)).map(([at, bit]) => {
      const copy = Buffer.from(whole)
      copy[at]! ^= 1 << bit
      return copy
    }),
  )
  await fc.assert(
    fc.asyncProperty(changed, async (bytes) => {
      const target = await mkdtemp(join(folder, 'x-'))
      try {
        const archive = await open(bytes)
        await extractMembers(archive, new Set(archive.members.map(({ name }) => name)), target)
      } catch (error) {
        expect(error).toBeInstanceOf(PareError)
        return
      }
      for (const [name, content] of [
        ['pkg/a.gguf', 'GGUF'],
        ['b', 'hello hello hello'],
      ] as const) {
        const found = await readFile(join(target, name), 'utf8').catch(() => content)
        expect(found).toBe(content)
      }
    }),
    { numRuns: 400 },
  )
})
test('an abort in the middle of a member ends in AbortError', async () => {
  const controller = new AbortController()
  const archive = await open(makeZip([{ name: 'z', content: Buffer.alloc(5_000_000, 7) }]))
  const run = extractMembers(archive, new Set(['z']), folder, {
    signal: controller.signal,
    progress: () => controller.abort(),
  })
  await expect(run).rejects.toBeInstanceOf(AbortError)
})
