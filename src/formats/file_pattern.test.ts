import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { OptionError, SourceError } from '../tensor/errors.ts'
import { filesOf } from './file_pattern.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-pattern-'))
for (const path of [
  'b.txt',
  'a.txt',
  'a.md',
  'a+b.txt',
  '.hidden.txt',
  'deep/c.txt',
  'deep/er/d.txt',
  '.git/e.txt',
]) {
  mkdirSync(dirname(join(folder, path)), { recursive: true })
  writeFileSync(join(folder, path), '')
}
afterAll(() => rmSync(folder, { recursive: true }))
const found = (...patterns: string[]) =>
  filesOf(patterns.map((pattern) => join(folder, pattern))).map((path) => relative(folder, path))

test('a star stands for a part of a name, in the order of names and without hidden files', () => {
  expect(found('*.txt')).toEqual(['a+b.txt', 'a.txt', 'b.txt'])
  expect(found('?.txt')).toEqual(['a.txt', 'b.txt'])
  expect(found('*/c.txt')).toEqual(['deep/c.txt'])
})
test('two stars stand for any folders, none included, but no hidden ones', () => {
  expect(found('**/*.txt')).toEqual(['a+b.txt', 'a.txt', 'b.txt', 'deep/c.txt', 'deep/er/d.txt'])
  expect(found('deep/**')).toEqual(['deep/c.txt', 'deep/er/d.txt'])
})
test('other signs of a pattern are those of the name', () => {
  expect(found('a+?.txt')).toEqual(['a+b.txt'])
})
test('an entry without a star stands as it is, and entries keep their order', () => {
  expect(found('b.txt', 'nothing.txt', '*.md')).toEqual(['b.txt', 'nothing.txt', 'a.md'])
})
test('a pattern without files and a folder that is not there are named', () => {
  expect(() => found('*.json')).toThrow(OptionError)
  expect(() => found('*.json')).toThrow(/\*\.json: the pattern matches no file/)
  expect(() => found('absent/*.txt')).toThrow(SourceError)
  expect(() => found('absent/*.txt')).toThrow(/absent: cannot be read \(ENOENT\)/)
})
