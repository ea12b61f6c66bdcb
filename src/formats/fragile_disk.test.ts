/** The disks of the crash tests themselves: a test of crashes is worth what they are. */
import fs, { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Disk, setDisk } from './disk.ts'
import { forgetfulDisk, fullDisk, type StepName, stoppingDisk } from './fragile_disk.suite.ts'
import { writeWhole } from './output.ts'

let root: string
let former: Disk | undefined
const use = <D extends Disk>(disk: D): D => {
  former ??= setDisk(disk)
  setDisk(disk)
  return disk
}
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'fragile-disk-'))
})
afterEach(() => {
  if (former) setDisk(former)
  former = undefined
  rmSync(root, { recursive: true })
})
const content = (name: string) => readFileSync(join(root, name), 'utf8')

test('a process that is killed at any step of writing a file leaves the old file or the new one', () => {
  const path = join(root, 'a')
  const steps: StepName[] = []
  use(stoppingDisk(Number.POSITIVE_INFINITY, steps))
  writeWhole(path, 'old')
  expect(steps).toEqual(['create', 'write', 'syncFile', 'rename', 'syncFolder'])
  const found = steps.map((_, count) => {
    writeFileSync(path, 'old')
    use(stoppingDisk(count))
    expect(() => writeWhole(path, 'new')).toThrow()
    return content('a')
  })
  expect(found).toEqual(['old', 'old', 'old', 'old', 'new'])
})
test('nothing is cleaned up after the process was killed, and the last write is done by half', () => {
  use(stoppingDisk(1))
  expect(() => writeWhole(join(root, 'a'), 'whole')).toThrow()
  const [part] = readdirSync(root)
  expect([part, content(part!)]).toEqual([expect.stringMatching(/^\.a\..*\.part$/), 'wh'])
})
test('without power a file has what was flushed, under a name that its folder was flushed with', () => {
  writeFileSync(join(root, 'before'), '1')
  const disk = use(forgetfulDisk(root))
  const descriptor = disk.create(join(root, 'a'))
  disk.write(descriptor, Buffer.from('12'), 0)
  disk.syncFile(descriptor)
  disk.write(descriptor, Buffer.from('3'), 2)
  disk.losePower()
  expect(readdirSync(root)).toEqual(['before'])
  disk.close(descriptor)
})
test('what was flushed in both ways stays, and what was written after it is lost', () => {
  const disk = use(forgetfulDisk(root))
  disk.makeFolder(join(root, 'b'))
  const descriptor = disk.create(join(root, 'b/a'))
  disk.write(descriptor, Buffer.from('12'), 0)
  disk.syncFile(descriptor)
  disk.syncFolder(join(root, 'b'))
  disk.syncFolder(root)
  disk.write(descriptor, Buffer.from('3'), 2)
  disk.rename(join(root, 'b/a'), join(root, 'b/c'))
  disk.close(descriptor)
  disk.losePower()
  expect([readdirSync(join(root, 'b')), content('b/a')]).toEqual([['a'], '12'])
})
test('a file that is removed comes back where its folder was not flushed', () => {
  writeFileSync(join(root, 'a'), '1')
  const disk = use(forgetfulDisk(root))
  disk.remove(join(root, 'a'))
  disk.losePower()
  expect(content('a')).toBe('1')
  disk.remove(join(root, 'a'))
  disk.syncFolder(root)
  disk.losePower()
  expect(readdirSync(root)).toEqual([])
})
test('a full disk takes no more than it has', () => {
  use(fullDisk(3))
  writeWhole(join(root, 'a'), '12')
  expect(() => writeWhole(join(root, 'b'), '12')).toThrow(/disk is full/)
  expect(readdirSync(root)).toEqual(['a'])
  expect(fs.existsSync(join(root, 'b'))).toBe(false)
})
