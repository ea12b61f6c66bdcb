/** What a process that was killed between two steps left, by hand. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { publishFolder, removeUnfinished, unfinishedFolder } from './unfinished_folder.ts'

let folder: string
let output: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'unfinished-test-'))
  output = join(folder, 'out')
})
afterEach(() => rmSync(folder, { recursive: true }))

/** The mark of a process that has ended. */
const ended = () => {
  const { pid } = spawnSync(process.execPath, ['--version'])
  return unfinishedFolder(output).replace(`-${process.pid}-`, `-${pid}-`)
}
const make = (path: string, text: string) => {
  mkdirSync(path)
  writeFileSync(join(path, 'model'), text)
}
const found = () =>
  Object.fromEntries(
    readdirSync(folder).map((name) => [name, readFileSync(join(folder, name, 'model'), 'utf8')]),
  )

test('a half of a process that has ended goes, that of one that runs stays, and so do other names', () => {
  const stay = [
    unfinishedFolder(output),
    unfinishedFolder(output).replace(`-${process.pid}-`, `-${process.ppid}-`),
    // Of another machine, of another output, of another program.
    ended().replace(/out\.[0-9a-f]{8}/, 'out.00000000'),
    ended().replace('.out.', '.out.2.'),
    join(folder, '.out.part'),
  ]
  const gone = [ended(), ended()]
  for (const path of [...stay, ...gone]) make(path, 'half')
  removeUnfinished(output)
  expect(readdirSync(folder).sort()).toEqual(stay.map((path) => basename(path)).sort())
})
test('a result that was moved away comes back where the new one was not put in its place', () => {
  const part = ended()
  make(part, 'new')
  make(`${part}.replaced`, 'old')
  removeUnfinished(output)
  expect(found()).toEqual({ out: 'old' })
})
test('a result that was replaced goes', () => {
  make(output, 'new')
  make(`${ended()}.replaced`, 'old')
  removeUnfinished(output)
  expect(found()).toEqual({ out: 'new' })
})
test('a result that was moved away stays where another one took its place', () => {
  const part = ended()
  make(output, 'another')
  make(part, 'new')
  make(`${part}.replaced`, 'old')
  removeUnfinished(output)
  expect(found()).toEqual({ out: 'another', [`${basename(part)}.replaced`]: 'old' })
})
test('a folder that is not there has nothing to remove', () => {
  removeUnfinished(join(folder, 'nowhere', 'out'))
  expect(existsSync(join(folder, 'nowhere'))).toBe(false)
})
test('a whole folder takes the place of what stands there', () => {
  make(output, 'old')
  const part = unfinishedFolder(output)
  make(part, 'new')
  publishFolder(part, output)
  expect(found()).toEqual({ out: 'new' })
})
