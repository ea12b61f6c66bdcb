import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { encodeStream } from '../formats/tokenizer/encode_stream.ts'
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import { FormatError, OptionError, SourceError } from '../tensor/errors.ts'
import {
  defaultCalibrationText,
  defaultEvaluationText,
  drawSamples,
  readTokens,
  type TextSource,
} from './text_samples.ts'

const folder = mkdtempSync(join(tmpdir(), 'text-samples-test-'))
afterAll(() => rmSync(folder, { recursive: true }))
const file = (name: string, content: string) => {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}

const characters = (text: string) => Uint32Array.from([...text], (c) => c.charCodeAt(0))
/** One token a character, each certain at once. */
const source: TextSource = {
  tokenizer: {
    encodeStream: () =>
      encodeStream(
        (text) => ({ ids: characters(text), covered: text.length }),
        () => new Uint32Array(0),
        { gathered: 1 },
      ),
    token: () => '',
    eosIds: [],
    bosId: undefined,
  } as unknown as Tokenizer,
  chatTemplates: new Map([['default', '{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}']]),
}
const read = (...files: string[]) => String.fromCharCode(...readTokens(files, source))

describe('reading', () => {
  test('files are joined by a blank line and encoded once, without BOS', () => {
    expect(read(file('a.txt', 'one\n'), file('b.txt', 'two'))).toBe('one\n\n\ntwo')
  })
  test('rows of JSONL are texts or chats in the model template, empty lines are passed over', () => {
    const rows = ['{"text": "plain"}', '', '{"messages": [{"role": "user", "content": "hi"}]}', '']
    for (const name of ['a.jsonl', 'a.ndjson'])
      expect(read(file(name, rows.join('\n')))).toBe('plain\n\n[user:hi]')
  })
  test.each([
    ['{"text": 1}', /line 2 has neither text nor messages/],
    ['null', /line 2 has neither/],
    ['[]', /line 2 has neither/],
    ['{"text"', /line 2 is no JSON/],
  ])('a row %s is named by its line', (row, message) => {
    const path = file('bad.jsonl', `{"text": "fine"}\n${row}`)
    expect(() => read(path)).toThrow(FormatError)
    expect(() => read(path)).toThrow(message)
  })
  test('an empty text and a file that is not there are errors that name the file', () => {
    const empty = file('empty.txt', '')
    expect(() => read(empty)).toThrow(OptionError)
    expect(() => read(empty)).toThrow(/empty\.txt: the text is empty/)
    for (const path of [join(folder, 'missing.txt'), folder]) {
      expect(() => read(path)).toThrow(SourceError)
    }
  })
  test('the first tokens alone need no more of the text, but every file must be there', () => {
    const [long, bad] = [file('long.txt', 'ab'.repeat(100_000)), file('later.jsonl', 'no row')]
    const first = readTokens([long, bad], source, { tokens: 9 })
    expect(String.fromCharCode(...first)).toBe('ababababa')
    expect(() => readTokens([long, bad], source, { tokens: 1_000_000 })).toThrow(/line 1 is no JSON/)
    const missing = join(folder, 'missing.txt')
    expect(() => readTokens([long, missing], source, { tokens: 9 })).toThrow(SourceError)
  })
  test('characters and rows that go over the end of a piece of the file are whole', () => {
    const text = `${'x'.repeat(65_535)}é${'😀'.repeat(40_000)}`
    expect(String(readTokens([file('wide.txt', text)], source))).toBe(String(characters(text)))
    const rows = file('wide.jsonl', `{"text": "${text}"}\n\n{"text": "end"}`)
    expect(String(readTokens([rows], source))).toBe(String(characters(`${text}\n\nend`)))
  })
  test('bytes that are no text become U+FFFD, and a byte order mark goes', () => {
    const path = file('bytes.txt', '')
    writeFileSync(path, Uint8Array.of(0xef, 0xbb, 0xbf, 0x61, 0xff, 0xe2, 0x82))
    expect(read(path)).toBe('a\ufffd\ufffd')
  })
  test('the texts that come with Pare are there, and are not the same', () => {
    const [calibration, evaluation] = [read(defaultCalibrationText()), read(defaultEvaluationText())]
    for (const text of [calibration, evaluation]) expect(text.length).toBeGreaterThan(90_000)
    expect(calibration.slice(0, 2000)).not.toBe(evaluation.slice(0, 2000))
  })
})

describe('drawing', () => {
  const tokens = Uint32Array.from({ length: 103 }, (_, i) => i)

  test('samples are windows that do not overlap, each at most once', () => {
    const { samples, note } = drawSamples(tokens, { samples: 10, length: 10 })
    expect(samples.every((s) => s.length === 10 && s[0]! % 10 === 0 && s[9] === s[0]! + 9)).toBe(true)
    expect(new Set(samples.map((s) => s[0])).size).toBe(10)
    expect(note).toBeUndefined()
  })
  test('the seed decides which and in what order, and nothing else does', () => {
    const starts = (seed: number) =>
      drawSamples(tokens, { samples: 6, length: 10, seed }).samples.map((s) => s[0])
    expect(starts(1)).toEqual(starts(1))
    expect(starts(1)).not.toEqual(starts(2))
    expect(drawSamples(tokens, { samples: 3, length: 10, seed: 1 }).samples.map((s) => s[0])).toEqual(
      starts(1).slice(0, 3),
    )
  })
  test('a text with fewer windows gives all it has and says so', () => {
    const { samples, note } = drawSamples(tokens, { samples: 11, length: 10 })
    expect([samples.length, note]).toEqual([10, 'the text holds 10 of the 11 samples asked for'])
  })
  test('a text shorter than one sample is refused with both lengths', () => {
    expect(() => drawSamples(tokens, { length: 104 })).toThrow(
      expect.objectContaining({ code: 'PARE_E_SHORT_TEXT', facts: { needed: 104, found: 103 } }),
    )
  })
  test('counts that are no whole numbers are refused', () => {
    for (const options of [{ samples: 0 }, { samples: 1.5 }, { length: -1 }, { length: Number.NaN }])
      expect(() => drawSamples(tokens, options)).toThrow(OptionError)
  })
})
