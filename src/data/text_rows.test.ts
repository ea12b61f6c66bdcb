import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { FormatError, OptionError, SourceError } from '../tensor/errors.ts'
import { labelledTexts, type TextRow, textRows } from './text_rows.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-rows-'))
afterAll(() => rmSync(folder, { recursive: true }))
function place(name: string, content: string | Uint8Array): string {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}
const golden = JSON.parse(readFileSync(new URL('../formats/golden/parquet.json', import.meta.url), 'utf8'))
const parquet = (name: string) =>
  place(`${name.replace(' ', '_')}.parquet`, Buffer.from(golden[name], 'base64'))
const jsonl = (...rows: unknown[]) =>
  place('rows.jsonl', rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'))
async function allOf(files: string[], options?: Parameters<typeof textRows>[1]): Promise<TextRow[]> {
  const rows: TextRow[] = []
  for await (const row of textRows(files, options)) rows.push(row)
  return rows
}

test('rows come from text files, JSON lines and Parquet, in the order of the files', async () => {
  const files = [
    place('a.txt', 'whole\n\ntext\n'),
    jsonl({ text: 'one', label: 'x' }, '', { text: 'two' }),
    parquet('gzip'),
  ]
  const texts = (await allOf(files)).map(({ text }) => text)
  expect(texts).toEqual([
    'whole\n\ntext\n',
    'one',
    'two',
    'the sea',
    'a ship',
    '',
    'the whale 🐋',
    'old',
    'new',
  ])
})
test('.md and names without an ending are texts, .ndjson is JSON lines, and capitals make no difference', async () => {
  const files = [
    place('readme.MD', '# one'),
    place('LICENSE', 'two'),
    place('rows.ndjson', '\ufeff{"text":"three"}\n'),
    place('rows.JSONL', '{"text":"four"}'),
  ]
  expect((await allOf(files)).map(({ text }) => text)).toEqual(['# one', 'two', 'three', 'four'])
})
test.each(['whale.png', 'rows.jsonl.gz', 'rows.csv', 'rows.json'])(
  '%s is refused by name before any file is read',
  async (name) => {
    const files = [place('a.txt', 'read'), place(name, 'content')]
    const rows = textRows(files)
    await expect(rows.next()).rejects.toThrow(OptionError)
    await expect(allOf(files)).rejects.toMatchObject({
      code: 'PARE_E_TEXT_KIND',
      message: expect.stringContaining(
        `${name}: texts end in .txt, .md, .jsonl, .ndjson, .parquet or nothing`,
      ),
    })
  },
)
test('labels are texts; numbers are their digits and are sorted by size', async () => {
  const { texts, labels, classes } = await labelledTexts([
    jsonl({ text: 'a', label: 10 }, { text: 'b', label: 9 }, { text: 'c', label: 'ham' }),
    parquet('snappy'),
  ])
  expect(classes).toEqual(['0', '1', '9', '10', 'ham'])
  expect([texts.length, ...labels.slice(0, 4)]).toEqual([9, 3, 2, 4, 0])
})
test('held-out rows take the classes of the training set', async () => {
  const { labels } = await labelledTexts([jsonl({ text: 'a', label: 'no' })], { classes: ['yes', 'no'] })
  expect([...labels]).toEqual([1])
  await expect(
    labelledTexts([jsonl({ text: 'a', label: 'no' }, { text: 'b', label: 'maybe' })], { classes: ['no'] }),
  ).rejects.toThrow(/row 1 \(from 0, over all files\) has label maybe, the classes are no/)
})

describe('a damaged row is named with its file', () => {
  test.each([
    ['is no JSON', ['{"text": "a"}', '{"text": '], false, /rows\.jsonl: line 2 is no JSON/],
    ['has no text', ['{"text": 3}'], false, /rows\.jsonl: line 1 has no text/],
    ['is no object', ['null'], false, /line 1 has no text/],
    ['has no label', ['{"text":"a","label":0}', '', '{"text":"a"}'], true, /line 3 has no label/],
    ['has half a label', ['{"text":"a","label":0.5}'], true, /line 1 has no label/],
    ['has an empty label', ['{"text":"a","label":""}'], true, /line 1 has no label/],
  ])('%s', async (_, rows, labelled, message) => {
    await expect(allOf([jsonl(...rows)], { labelled })).rejects.toThrow(message)
    await expect(allOf([jsonl(...rows)], { labelled })).rejects.toThrow(FormatError)
  })
  test('in Parquet', async () => {
    await expect(allOf([parquet('missing text')])).rejects.toThrow(/missing_text\.parquet: row 1 has no text/)
  })
})
test('no rows, no file, and a text file where labels are needed are refused', async () => {
  await expect(labelledTexts([jsonl()])).rejects.toThrow(OptionError)
  await expect(allOf([join(folder, 'none.txt')])).rejects.toThrow(SourceError)
  await expect(allOf([place('a.txt', 'a')], { labelled: true })).rejects.toThrow(
    /a\.txt: a text file has no labels/,
  )
})
