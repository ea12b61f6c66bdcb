import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { processMark } from '../formats/process_mark.ts'
import { OptionError } from '../tensor/errors.ts'
import { openOutputFolder, removeLeftovers } from './output_folder.ts'

let folder: string
let output: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'output-folder-test-'))
  output = join(folder, 'out')
})
afterEach(() => rmSync(folder, { recursive: true }))

// Process ids end at 2^22 on Linux, lower elsewhere.
const ended = () => processMark().replace(/-\d+-/, '-99999999-')
const running = () => processMark().replace(/-\d+-/, `-${process.ppid}-`)
/** A folder with one file, as a run leaves it. */
function leave(name: string): string {
  mkdirSync(join(folder, name))
  writeFileSync(join(folder, name, 'file'), name)
  return name
}

test('a result stands at its place only when it is committed, and nothing else stays', () => {
  const { work, commit } = openOutputFolder(output, false)
  writeFileSync(join(work, 'file'), 'new')
  expect(existsSync(output)).toBe(false)
  commit()
  expect(readdirSync(folder)).toEqual(['out'])
  expect(readFileSync(join(output, 'file'), 'utf8')).toBe('new')
})
test('a result that is replaced is whole until it is gone', () => {
  leave('out')
  expect(() => openOutputFolder(output, false)).toThrow(OptionError)
  const { work, commit } = openOutputFolder(output, true)
  writeFileSync(join(work, 'other'), 'new')
  expect(readdirSync(output)).toEqual(['file'])
  commit()
  expect([readdirSync(folder), readdirSync(output)]).toEqual([['out'], ['other']])
})
test('what was aborted leaves nothing', () => {
  openOutputFolder(output, false).abort()
  expect(readdirSync(folder)).toEqual([])
})

describe('what a process leaves that ends at once', () => {
  test('is removed by the next run with the same output', () => {
    leave(`.out.pare-${ended()}`)
    openOutputFolder(output, false).commit()
    expect(readdirSync(folder)).toEqual(['out'])
  })
  test('stays while its process runs, where it is of another output or machine, or nothing of Pare', () => {
    const names = [
      `.out.pare-${running()}`,
      `.out.pare-${processMark()}`,
      `.out.pare-${ended().replace(/^.{8}/, '00000000')}`,
      `.other.pare-${ended()}`,
      `.out.pare-${ended()}.copy`,
      `.out.pare-notes`,
      `out.pare-${ended()}`,
    ].map(leave)
    openOutputFolder(output, false).abort()
    expect(readdirSync(folder).sort()).toEqual(names.sort())
  })
  test('is removed by the process itself before it ends so', () => {
    const { work } = openOutputFolder(output, false)
    writeFileSync(join(work, 'file'), 'half')
    removeLeftovers(output)
    expect(existsSync(work)).toBe(true)
    // As it may be typed.
    removeLeftovers(`${output}/inner/..`, { own: true })
    expect(readdirSync(folder)).toEqual([])
  })
  test('goes back to its place where it is a former result that was being replaced', () => {
    const mark = ended()
    leave(`.out.pare-${mark}`)
    const old = leave(`.out.pare-${mark}.old`)
    expect(() => openOutputFolder(output, false)).toThrow(/--overwrite/)
    expect(readFileSync(join(output, 'file'), 'utf8')).toBe(old)
    expect(readdirSync(folder)).toEqual(['out'])
  })
  test('is removed where the new result has taken its place already', () => {
    leave('out')
    leave(`.out.pare-${ended()}.old`)
    removeLeftovers(output)
    expect([readdirSync(folder), readFileSync(join(output, 'file'), 'utf8')]).toEqual([['out'], 'out'])
  })
})
