import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { systemDisk } from './disk.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-disk-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('a folder is made with those above it, and one that is there stays', () => {
  const path = join(folder, 'a', 'b', 'c')
  for (let i = 0; i < 2; i++) systemDisk.makeFolder(path)
  expect(statSync(path).isDirectory()).toBe(true)
})
test('a file in place of a folder, or above it, is an error of the system', () => {
  const file = join(folder, 'file')
  writeFileSync(file, '')
  expect(() => systemDisk.makeFolder(file)).toThrow(/EEXIST/)
  expect(() => systemDisk.makeFolder(join(file, 'below'))).toThrow(/ENOTDIR/)
})
// Linux alone has a folder that is there and in which none can be made, whoever asks.
test.skipIf(!existsSync('/proc'))(
  'a folder that lets none be made in it ends with an error, and not never',
  () => {
    expect(() => systemDisk.makeFolder('/proc/pare/results')).toThrow(/ENOENT|EACCES|EPERM/)
  },
)
