import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkOutput, checkOutside, checkPlace, checkReplaceable, followed } from './output_place.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'output-place-test-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

test('an output may be missing or empty, or hold what a run left', () => {
  expect(() => checkOutput(join(folder, 'none'), false)).not.toThrow()
  expect(() => checkOutput(folder, false)).not.toThrow()
  mkdirSync(join(folder, '.pare'))
  expect(() => checkOutput(folder, false)).not.toThrow()
})
test('a file, and a folder with something else, are refused unless it is to be replaced', () => {
  writeFileSync(join(folder, 'mine'), '')
  expect(() => checkOutput(join(folder, 'mine'), true)).toThrow(/is a file/)
  expect(() => checkOutput(folder, false)).toThrow(/holds 1 file; name another folder or give --overwrite/)
  expect(() => checkOutput(folder, true)).not.toThrow()
  // Also beside what a run left, which has not begun to move its files.
  mkdirSync(join(folder, '.pare'))
  expect(() => checkOutput(folder, false)).toThrow(/--overwrite/)
})
test('what lies inside of an output is not replaced, also behind a link', () => {
  const output = join(folder, 'out')
  mkdirSync(output)
  writeFileSync(join(output, 'model'), '')
  symlinkSync(output, join(folder, 'link'))
  expect(() => checkReplaceable(output, [join(folder, 'link', 'model')])).toThrow(/would be lost/)
  expect(() => checkReplaceable(output, [join(folder, 'output-of-another')])).not.toThrow()
})
test('a place below a file cannot be made, and nothing is made to find out', () => {
  writeFileSync(join(folder, 'file'), '')
  expect(() => checkPlace(join(folder, 'file', 'out'))).toThrow(/ENOTDIR/)
  expect(() => checkPlace(join(folder, 'deep', 'out'))).not.toThrow()
  expect([readdirSync(folder), existsSync(join(folder, 'deep'))]).toEqual([['file'], false])
})
test('a link to an empty folder is followed, one to nothing is refused', () => {
  mkdirSync(join(folder, 'place'))
  symlinkSync(join(folder, 'place'), join(folder, 'link'))
  symlinkSync(join(folder, 'nothing'), join(folder, 'dangling'))
  expect(() => checkOutput(join(folder, 'link'), false)).not.toThrow()
  expect(followed(join(folder, 'link'))).toBe(followed(join(folder, 'place')))
  expect(() => checkOutput(join(folder, 'dangling'), true)).toThrow(/is a link to a place where nothing is/)
})
test('a result does not go into the folder of its source, also through a link or where its place is to be made', () => {
  const source = join(folder, 'model')
  mkdirSync(source)
  symlinkSync(source, join(folder, 'link'))
  for (const output of [source, join(source, 'out'), join(source, 'a', 'b'), join(folder, 'link', 'out')])
    expect(() => checkOutside(output, source), output).toThrow(/lies inside of the source/)
  for (const output of [folder, join(folder, 'model-2'), join(folder, 'out', 'model')])
    expect(() => checkOutside(output, source), output).not.toThrow()
  writeFileSync(join(folder, 'model.gguf'), '')
  expect(() => checkOutside(join(folder, 'out'), join(folder, 'model.gguf'))).not.toThrow()
})
test('a name that file systems do not take is refused before anything is made', () => {
  expect(() => checkOutput(join(folder, 'ü'.repeat(101)), false)).toThrow(
    /has a name of 202 bytes; give one of at most 200/,
  )
  expect(() => checkOutput(join(folder, 'ü'.repeat(100)), false)).not.toThrow()
})
