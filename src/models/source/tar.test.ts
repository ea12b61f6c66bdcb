import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FormatError, PareError } from '../../tensor/errors.ts'
import { type ArchiveLimits, defaultLimits, extractMembers } from './archive.ts'
import { makeTarGz, paxRecord, type TarEntry } from './archives.suite.ts'
import { openTarGz } from './tar.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pare-tar-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const text = (value: string) => Buffer.from(value)
const plain: TarEntry = { name: 'package/a.gguf', content: text('GGUF') }

async function open(bytes: Buffer, limits: Partial<ArchiveLimits> = {}) {
  const path = join(folder, 'a.tgz')
  await writeFile(path, bytes)
  return openTarGz(path, { ...defaultLimits, ...limits })
}
async function extractAll(bytes: Buffer, limits: Partial<ArchiveLimits> = {}) {
  const archive = await open(bytes, limits)
  return extractMembers(archive, new Set(archive.members.map(({ name }) => name)), folder)
}

test('members come out as they went in, without the folder they all stand in', async () => {
  const big = Buffer.alloc(200_001, 3)
  const files = await extractAll(
    makeTarGz([
      { name: 'package/', type: '5' },
      plain,
      { name: './package/m/b', content: big },
      { name: 'package/e' },
    ]),
  )
  expect(files.map(({ path, bytes }) => [path, bytes])).toEqual([
    ['a.gguf', 4],
    ['m/b', 200_001],
    ['e', 0],
  ])
  expect((await readFile(join(folder, 'm/b'))).equals(big)).toBe(true)
})
test('a member that is not chosen is passed over, and so is the rest of one that is not read to its end', async () => {
  const archive = await open(
    makeTarGz([
      { name: 'p/skip', content: Buffer.alloc(100_000) },
      plain,
      { name: 'p/z', content: text('zz') },
    ]),
  )
  await extractMembers(archive, new Set(['z']), folder)
  expect(await readFile(join(folder, 'z'), 'utf8')).toBe('zz')
  const seen: string[] = []
  for await (const { member } of archive.read(new Set(['skip', 'z']))) seen.push(member.name)
  expect(seen).toEqual(['skip', 'z'])
})
test('long names come from ustar prefixes, pax records and GNU records', async () => {
  const long = `package/${'d'.repeat(120)}/model.gguf`
  const archive = await open(
    makeTarGz([
      { name: 'a.gguf', prefix: 'package/prefixed' },
      {
        name: 'PaxHeader',
        type: 'x',
        content: Buffer.concat([paxRecord('mtime', '1'), paxRecord('path', long)]),
      },
      { name: 'cut' },
      { name: '././@LongLink', type: 'L', content: text(`${long}2\0`) },
      { name: 'cut' },
      { name: 'package/plain' },
    ]),
  )
  expect(archive.members.map(({ name }) => name)).toEqual([
    'prefixed/a.gguf',
    long.slice(8),
    `${long.slice(8)}2`,
    'plain',
  ])
})
test('sizes come from pax records and from GNU base 256 as well', async () => {
  const files = await extractAll(
    makeTarGz([
      { name: 'x', type: 'x', content: paxRecord('size', '3') },
      { name: 'package/a', content: text('abc'), declaredBytes: 0 },
      { name: 'package/b', content: text('de'), base256: true },
    ]),
  )
  expect(files.map(({ path, bytes }) => [path, bytes])).toEqual([
    ['a', 3],
    ['b', 2],
  ])
})

test.each<[string, TarEntry[], string]>([
  ['a symbolic link', [plain, { name: 'package/l', type: '2', linkName: '/etc/passwd' }], 'link'],
  ['a hard link', [plain, { name: 'package/l', type: '1', linkName: 'package/a.gguf' }], 'link'],
  ['a long link', [{ name: '././@LongLink', type: 'K', content: text('x') }, plain], 'link'],
  ['a linkpath', [{ name: 'x', type: 'x', content: paxRecord('linkpath', '/etc') }, plain], 'link'],
  ['a character device', [{ name: 'package/d', type: '3' }], 'device'],
  ['a pipe', [{ name: 'package/d', type: '6' }], 'device'],
  ['a sparse file', [{ name: 'package/s', type: 'S' }], 'regular'],
  [
    'a sparse record',
    [{ name: 'x', type: 'x', content: paxRecord('GNU.sparse.name', 'x') }, plain],
    'sparse',
  ],
  ['an absolute name', [{ name: '/package/a' }], 'absolute'],
  ['a climbing name', [{ name: 'package/../../a' }], '..'],
  ['a climbing folder', [{ name: '../', type: '5' }], '..'],
  ['a climbing pax name', [{ name: 'x', type: 'x', content: paxRecord('path', '../a') }, plain], '..'],
  ['a NUL in a pax name', [{ name: 'x', type: 'x', content: paxRecord('path', 'p/a\0b') }, plain], 'control'],
  ['a backslash', [{ name: 'package\\..\\a' }], 'backslash'],
  ['a device name', [{ name: 'package/nul' }], 'device'],
  ['a name twice', [plain, plain], 'twice'],
  ['one name in two folders', [plain, { ...plain, name: 'other/a.gguf' }], 'twice'],
  ['a file outside the folder', [{ name: 'a.gguf' }], 'outside'],
  ['a global pax name', [{ name: 'g', type: 'g', content: paxRecord('path', 'p/x') }, plain], 'global'],
])('%s makes the whole archive refused', async (_, entries, reason) => {
  const error = await open(makeTarGz(entries)).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(FormatError)
  expect(error).toMatchObject({ code: 'PARE_E_ARCHIVE_UNSAFE', message: expect.stringContaining(reason) })
})
test('a global header that renames nothing is passed over', async () => {
  const comment = { name: 'g', type: 'g', content: paxRecord('comment', 'abc') }
  expect((await open(makeTarGz([comment, plain]))).members).toEqual([{ name: 'a.gguf', bytes: 4 }])
})
test('limits of entries, of one member and of the whole stream are kept', async () => {
  const two = makeTarGz([plain, { name: 'package/b', content: Buffer.alloc(5000) }])
  await expect(open(two, { entries: 1 })).rejects.toThrow(/more than 1 members/)
  await expect(open(two, { memberBytes: 4999 })).rejects.toThrow(/limit is 4999/)
  await expect(open(two, { totalBytes: 4000 })).rejects.toThrow(/limit is 4000/)
  await expect(open(two, { entries: 2, memberBytes: 5000, totalBytes: 7680 })).resolves.toBeDefined()
})
test('a bomb is stopped by its ratio while it unpacks', async () => {
  const bomb = makeTarGz([{ name: 'package/z', content: Buffer.alloc(80 * 2 ** 20) }])
  await expect(open(bomb)).rejects.toThrow(/bombs/)
})
test('a pax header of absurd length is refused before it is read', async () => {
  const absurd = makeTarGz([{ name: 'x', type: 'x', declaredBytes: 8 ** 10 }])
  await expect(open(absurd)).rejects.toThrow(/no header/)
})
test.each([
  ['a wrong header checksum', makeTarGz([{ ...plain, damagedChecksum: true }])],
  ['no end', makeTarGz([plain], { ending: 0 })],
  ['no gzip', text('not gzip at all')],
  ['a wrong checksum of the stream', flipped(makeTarGz([plain]), -6)],
  ['a malformed pax record', makeTarGz([{ name: 'x', type: 'x', content: text('99 path=a\n') }, plain])],
  [
    'a pax size that is no number',
    makeTarGz([{ name: 'x', type: 'x', content: paxRecord('size', '-1') }, plain]),
  ],
])('%s: damaged', async (_, bytes) => {
  await expect(open(bytes)).rejects.toMatchObject({ code: 'PARE_E_ARCHIVE' })
})
test('an archive that is cut or has flipped bits in its tar ends in a typed error or stays readable', async () => {
  const tar = gunzipSync(
    makeTarGz([
      { name: 'x', type: 'x', content: paxRecord('path', 'package/long') },
      { name: 'c', content: text('abc') },
      plain,
    ]),
  )
  const changed = fc.oneof(
    fc.nat(tar.length - 1).map((length) => tar.subarray(0, length)),
    fc.tuple(fc.nat(tar.length - 1), fc.nat(7)).map(([at, bit]) => flipped(tar, at, bit)),
  )
  await fc.assert(
    fc.asyncProperty(changed, async (bytes) => {
      const target = await mkdtemp(join(folder, 'x-'))
      try {
        const archive = await open(gzipSync(bytes, { level: 1 }))
        await extractMembers(archive, new Set(archive.members.map(({ name }) => name)), target)
      } catch (error) {
        expect(error).toBeInstanceOf(PareError)
      }
    }),
    { numRuns: 300 },
  )
})

function flipped(bytes: Buffer, at: number, bit = 0): Buffer {
  const copy = Buffer.from(bytes)
  copy[(at + bytes.length) % bytes.length]! ^= 1 << bit
  return copy
}
