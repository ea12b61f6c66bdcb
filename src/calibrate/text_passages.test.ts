import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { openEncoder } from '../models/bert/fixtures.suite.ts'
import { readPassages } from './text_passages.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-passages-'))
const open = openEncoder('bert-sentence')
const source = { tokenizer: open.tokenizer(), chatTemplates: open.chatTemplates() }
afterAll(() => rmSync(folder, { recursive: true }))

function written(text: string, name = 'text.txt'): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}
const numbered = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => `w${from + i}`).join(' \n\t ')

test('passages begin at evenly spaced words, and their words are joined by blanks', () => {
  const { texts, note } = readPassages([written(numbered(0, 10))], source, { count: 3, words: 2 })
  expect(texts).toEqual(['w0 w1', 'w3 w4', 'w6 w7'])
  expect(note).toBeUndefined()
})
test('several files are one text, and a word does not go on in the next file', () => {
  const files = [written(numbered(0, 3), 'a.txt'), written(numbered(3, 8), 'b.txt')]
  expect(readPassages(files, source, { count: 4, words: 2 }).texts).toEqual([
    'w0 w1',
    'w2 w3',
    'w4 w5',
    'w6 w7',
  ])
})
test('a text with fewer passages gives those it has, and says so', () => {
  const { texts, note } = readPassages([written(numbered(0, 5))], source, { count: 9, words: 2 })
  expect(texts).toEqual(['w0 w1', 'w2 w3'])
  expect(note).toBe('the text holds 2 of the 9 passages asked for')
})
test('a text shorter than one passage is refused', () => {
  expect(() => readPassages([written('one two')], source)).toThrow(
    /one passage needs 60 words, the text has 2/,
  )
})
test('a text without white space counts in words of 256 characters', () => {
  const { texts } = readPassages([written('x'.repeat(200_000))], source, { count: 2, words: 1 })
  expect(texts.map(({ length }) => length)).toEqual([256, 256])
})
test('for any counts, passage i of n begins with word floor(i all / n) and has its words (brute force)', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 7 }),
      (all, count, words) => {
        fc.pre(all >= words)
        const list = Array.from({ length: all }, (_, i) => `w${i}`)
        const n = Math.min(count, Math.floor(all / words))
        const { texts } = readPassages([written(list.join(' '))], source, { count, words })
        expect(texts).toEqual(
          Array.from({ length: n }, (_, i) => {
            const start = Math.floor((i * all) / n)
            return list.slice(start, start + words).join(' ')
          }),
        )
      },
    ),
  )
})
