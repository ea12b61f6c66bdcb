import fs, { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FormatError, ResourceError, SourceError } from '../tensor/errors.ts'
import { bytesSource, openFile } from './file.ts'
import { createOutput, writeFailure, writeWhole } from './output.ts'
import { createSafetensors, createShardedSafetensors } from './safetensors/writer.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-output-'))
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(folder, { recursive: true })
})

test('a file appears under its name only when it is committed', () => {
  const path = join(folder, 'a.bin')
  const output = createOutput(path)
  output.write(Uint8Array.of(1, 2))
  output.writeAt(4, Uint8Array.of(5))
  output.extendTo(8)
  expect(readdirSync(folder)).not.toContain('a.bin')
  output.commit()
  expect([...readFileSync(path)]).toEqual([1, 2, 0, 0, 5, 0, 0, 0])
  expect(readdirSync(folder)).toEqual(['a.bin'])
})
test('an aborted file leaves the old one and nothing else', () => {
  const path = join(folder, 'a.bin')
  writeWhole(path, 'old')
  const output = createOutput(path)
  output.write(Uint8Array.of(1))
  output.abort()
  expect(readdirSync(folder)).toEqual(['a.bin'])
  expect(readFileSync(path, 'utf8')).toBe('old')
})
test('a disk that fills up removes the part that was written and says how much was needed', () => {
  const path = join(folder, 'a.bin')
  const output = createOutput(path, { expectedBytes: 1000 })
  vi.spyOn(fs, 'writeSync').mockImplementation(() => {
    throw Object.assign(new Error('full'), { code: 'ENOSPC' })
  })
  let error: unknown
  try {
    output.write(new Uint8Array(10))
  } catch (caught) {
    error = caught
  }
  expect(error).toBeInstanceOf(ResourceError)
  expect(error).toMatchObject({ exitCode: 5, code: 'PARE_E_DISK_FULL', facts: { path, needed: 1000 } })
  expect(String(error)).toContain('needs 1000 bytes')
  expect(readdirSync(folder)).toEqual([])
})
test.runIf(fs.existsSync('/dev/full'))('the error of a device that is really full is understood', () => {
  const descriptor = fs.openSync('/dev/full', 'w')
  try {
    fs.writeSync(descriptor, new Uint8Array(1))
    expect.unreachable()
  } catch (cause) {
    expect(writeFailure(cause, 'x', 1)).toMatchObject({ code: 'PARE_E_DISK_FULL', exitCode: 5 })
  } finally {
    fs.closeSync(descriptor)
  }
})
test('a quota and a size limit are resources too, a missing folder is a source', () => {
  expect(writeFailure({ code: 'EDQUOT' }, 'x', 1)).toBeInstanceOf(ResourceError)
  expect(writeFailure({ code: 'EFBIG' }, 'x', 1)).toBeInstanceOf(ResourceError)
  expect(() => createOutput(join(folder, 'none', 'a.bin'))).toThrow(SourceError)
})
describe('a file that is larger than the system allows', () => {
  const tooLarge = () =>
    vi.spyOn(fs, 'writeSync').mockImplementation(() => {
      throw Object.assign(new Error('too large'), { code: 'EFBIG' })
    })
  const found = (write: () => void): unknown => {
    try {
      write()
    } catch (error) {
      return error
    }
    return undefined
  }
  const tensors = ['a', 'b'].map((name) => ({ name, type: 'F32', shape: [64] }))
  test('is refused with its size and a way out that fits it', () => {
    tooLarge()
    const error = found(() => writeWhole(join(folder, 'report.json'), new Uint8Array(10)))
    expect(error).toMatchObject({ code: 'PARE_E_FILE_TOO_LARGE', exitCode: 5, facts: { needed: 10 } })
    expect(String(error)).toMatch(/needs 10 bytes.*; raise the limit \(ulimit -f\), or write to another/)
    expect(String(error)).not.toContain('shards')
    expect(readdirSync(folder)).toEqual([])
  })
  test('has smaller shards as a way out only where it is one of a folder and holds several tensors', () => {
    tooLarge()
    const start = (count: number) => found(() => createShardedSafetensors(folder, tensors.slice(0, count)))
    expect(String(start(2))).toMatch(/; write smaller shards with --shard-size, raise the limit/)
    expect(String(start(1))).not.toContain('shards')
    expect(
      String(found(() => createSafetensors(join(folder, 'transform-0000.safetensors'), tensors))),
    ).toMatch(/transform-0000.safetensors: .*; raise the limit/)
    expect(readdirSync(folder)).toEqual([])
  })
})
test('a rename that fails leaves nothing behind', () => {
  fs.mkdirSync(join(folder, 'a.bin', 'in the way'), { recursive: true })
  const output = createOutput(join(folder, 'a.bin'))
  expect(() => output.commit()).toThrow(SourceError)
  expect(readdirSync(folder)).toEqual(['a.bin'])
})
test('short writes and short reads of the system are continued', () => {
  const path = join(folder, 'a.bin')
  const content = Uint8Array.from({ length: 100 }, (_, i) => i)
  const { writeSync, readSync } = fs
  vi.spyOn(fs, 'writeSync').mockImplementation(((
    fd: number,
    b: Uint8Array,
    o: number,
    n: number,
    p: number,
  ) => writeSync(fd, b, o, Math.min(n, 7), p)) as typeof fs.writeSync)
  vi.spyOn(fs, 'readSync').mockImplementation(((fd: number, b: Uint8Array, o: number, n: number, p: number) =>
    readSync(fd, b, o, Math.min(n, 9), p)) as typeof fs.readSync)
  writeWhole(path, content)
  const source = openFile(path)
  expect(source.read(0, 100)).toEqual(content)
  source.close()
})
test('a range outside of the file is refused before memory is taken for it', () => {
  const source = bytesSource('b', new Uint8Array(10))
  for (const [offset, length] of [
    [0, 11],
    [11, 0],
    [-1, 1],
    [0, 2 ** 53],
    [0.5, 1],
    [0, Number.NaN],
  ])
    expect(() => source.read(offset!, length!)).toThrow(FormatError)
  expect(source.read(10, 0)).toHaveLength(0)
})
test('a file that was cut while it was open ends in an error', () => {
  const path = join(folder, 'a.bin')
  writeFileSync(path, new Uint8Array(100))
  const source = openFile(path)
  fs.truncateSync(path, 50)
  expect(() => source.read(0, 100)).toThrow(/ended after 50/)
  source.close()
  expect(() => source.read(0, 1)).toThrow(/closed/)
})
test('a folder and a missing file are refused', () => {
  expect(() => openFile(folder)).toThrow(FormatError)
  expect(() => openFile(join(folder, 'none'))).toThrow(/no such file/)
})
