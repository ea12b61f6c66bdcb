import { constants } from 'node:buffer'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { FormatError, OptionError } from '../tensor/errors.ts'
import { LONGEST_TEXT, readLines, readText, wholeText } from './text_file.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-text-'))
afterAll(() => rmSync(folder, { recursive: true }))
function place(name: string, content: string | Uint8Array): string {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}

test('a byte order mark is dropped at the start of a file, and kept elsewhere', () => {
  expect(wholeText(place('a.txt', '\ufeffone \ufeff\n\ufefftwo'))).toBe('one \ufeff\n\ufefftwo')
  expect([...readLines(place('a.jsonl', '\ufeff{}\n[]'))]).toEqual(['{}', '[]'])
})
test('a text is whole over the pieces that it is read in', () => {
  const text = `${'x'.repeat(65_535)}é${'🐋'.repeat(40_000)}`
  expect([...readText(place('wide.txt', text))].length).toBeGreaterThan(2)
  expect(wholeText(place('wide.txt', text))).toBe(text)
})
test('a whole text has a limit that a string can hold, and past it is refused; lines have none', () => {
  expect(LONGEST_TEXT).toBeLessThan(constants.MAX_STRING_LENGTH)
  const path = place('long.txt', 'abcde\n'.repeat(20_000))
  expect(wholeText(path, 120_000)).toHaveLength(120_000)
  expect(() => wholeText(path, 119_999)).toThrow(OptionError)
  expect(() => wholeText(path, 119_999)).toThrow(
    /long\.txt: a text of at most 119999 characters .* split it into several files/,
  )
  expect([...readLines(path)]).toHaveLength(20_001)
})

describe('what is no text is refused by name', () => {
  test.each([
    ['packed.txt', gzipSync('a text'), /packed\.txt: .* found packed bytes \(gzip\); unpack/],
    ['wide.txt', Buffer.from('a text', 'utf16le'), /wide\.txt: .* found a byte 0 at 1; .* UTF-8/],
    ['late.jsonl', `${'x'.repeat(70_000)}\0`, /late\.jsonl: .* found a byte 0 at 70000/],
  ])('%s', (name, content, message) => {
    const path = place(name, content)
    expect(() => [...readLines(path)]).toThrow(FormatError)
    expect(() => wholeText(path)).toThrow(message)
  })
})
