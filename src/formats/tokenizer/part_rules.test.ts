import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { binding } from '../../tensor/binding.ts'
import { openGguf } from '../gguf/container.ts'
import { asset, smollm2 } from './assets.suite.ts'
import { tokenizerJsonOfGguf } from './gguf_tokenizer.ts'
import { looksAround, partRules } from './part_rules.ts'
import {
  byteLevel,
  byteLevelModel,
  byteNames,
  parts,
  sentencePiece,
  tokenizers,
  unigram,
} from './small_tokenizers.suite.ts'
import { type JsonRecord, parseTokenizerJson } from './tokenizer_json.ts'

const word = fc.constantFrom(
  'the',
  'sea',
  'a',
  'aaaaa',
  'The',
  "it's",
  'é',
  'e\u0301',
  'naïve',
  '東',
  '東京',
  'x',
)
const between = fc.constantFrom(' ', ' ', ' ', ' ', '  ', '\n', '\n\n', ' \n', '\r\n', '\t', ', ', '。', '')
const rare = fc.constantFrom(
  '1984',
  '9',
  '😀',
  '👩‍🚀',
  '\u0301',
  '\u3000',
  '<end>',
  ' <end> ',
  '<user>',
  '\u2581',
  '\ud800',
  '...',
  "'",
)
const text = fc
  .array(
    fc.oneof(
      { weight: 8, arbitrary: fc.tuple(word, between).map((pair) => pair.join('')) },
      { weight: 2, arbitrary: rare },
      {
        weight: 1,
        arbitrary: fc
          .tuple(fc.constantFrom('a', ' ', '東', '\n', '9', 'a '), fc.nat(40))
          .map(([c, n]) => c.repeat(n)),
      },
    ),
    { maxLength: 60, size: 'max' },
  )
  .map((all) => all.join(''))

describe('parts joined have the ids of the whole', () => {
  const handles: number[] = []
  afterAll(() => {
    for (const handle of handles) binding().tokenizerRelease(handle)
  })
  const load = (json: string) => {
    handles.push(binding().tokenizerLoad(json))
    return handles.at(-1)!
  }
  const plain = 'the sea and the cat, naïve and a '.repeat(40)

  test.each(tokenizers)('%s', (_, json) => {
    const rules = partRules(parseTokenizerJson(JSON.stringify(json)))!
    expect(rules).toBeDefined()
    const handle = load(JSON.stringify(json))
    const { tokenizerEncode, tokenizerEncodeParts } = binding()
    fc.assert(
      fc.property(text, fc.integer({ min: 8, max: 160 }), fc.nat(), (whole, length, at) => {
        const ids = [...tokenizerEncode(handle, whole, false)]
        const cut = { ...rules, length }
        expect([...tokenizerEncodeParts(handle, whole, false, false, cut).ids]).toEqual(ids)
        const first = tokenizerEncodeParts(handle, whole.slice(0, at % (whole.length + 1)), false, true, cut)
        const rest = whole.slice(first.covered)
        const second = tokenizerEncodeParts(handle, rest, first.covered > 0, false, cut)
        expect([...first.ids, ...second.ids]).toEqual(ids)
      }),
      { numRuns: 300 },
    )
  })
  test.each(tokenizers.slice(0, -1))('%s: a plain text is cut', (_, json) => {
    const rules = partRules(parseTokenizerJson(JSON.stringify(json)))!
    const { covered } = binding().tokenizerEncodeParts(load(JSON.stringify(json)), plain, false, true, {
      ...rules,
      length: 100,
    })
    expect(covered).toBeGreaterThan(plain.length - 400)
  })

  const model = asset(smollm2)
  const speeches = asset('data/text-sotu/data')
  test.skipIf(!model || !speeches)('a real text (needs PARE_ASSETS)', () => {
    const { metadata, close } = openGguf(model!)
    const { json } = tokenizerJsonOfGguf(metadata)
    close()
    const handle = load(json)
    const rules = partRules(parseTokenizerJson(json))!
    const files = readdirSync(speeches!).sort().slice(0, 12)
    const whole = files.map((file) => readFileSync(join(speeches!, file), 'utf8')).join('\n\n')
    const ids = binding().tokenizerEncode(handle, whole, false)
    for (const length of [1 << 16, 3000, 200]) {
      const found = binding().tokenizerEncodeParts(handle, whole, false, false, { ...rules, length })
      expect(Buffer.from(found.ids.buffer).equals(Buffer.from(ids.buffer))).toBe(true)
    }
  })
})

describe('no rules are given', () => {
  const rules = (rest: JsonRecord) =>
    partRules(parseTokenizerJson(JSON.stringify(parts({ model: byteLevelModel, ...rest }))))
  const cases: [string, JsonRecord][] = [
    ['where pieces are counted off', { pre_tokenizer: { type: 'FixedLength', length: 5 } }],
    ['where scripts decide', { pre_tokenizer: { type: 'UnicodeScripts' } }],
    [
      'where the ends of a text are stripped',
      { normalizer: { type: 'Strip', strip_left: true, strip_right: true } },
    ],
    [
      'where a pattern is replaced',
      { normalizer: { type: 'Replace', pattern: { Regex: 'a b' }, content: 'c' } },
    ],
    ['where something else than a blank comes first', { normalizer: { type: 'Prepend', prepend: 'x' } }],
    [
      'where a pattern looks back',
      {
        pre_tokenizer: { type: 'Split', pattern: { Regex: '(?<=a)b' }, behavior: 'Isolated', invert: false },
      },
    ],
    ['where one piece is not joined by merges alone', { model: unigram }],
    ['where bytes are missing', { model: { ...sentencePiece(byteNames.slice(1), true) } }],
    [
      'where merges are left out by chance',
      { pre_tokenizer: byteLevel(false, true), model: { ...byteLevelModel, dropout: 0.1 } },
    ],
  ]
  test.each(cases)('%s', (_, rest) => {
    expect(rules(rest)).toBeUndefined()
  })
})

test.each([
  ["'s|'t| ?\\p{L}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", false],
  ["[^\\r\\n\\p{L}]?[\\p{Lu}\\p{M}]*[\\p{Ll}]+(?i:'s)?|[\\p{P}\\$\\+<=>\\^~\\|]+|[!-.^]|\\s*$", false],
  ['\\bword', true],
  ['^\\s+', true],
  ['a(?=.*b)', true],
  ['a(?!b)', true],
  ['(?<!a)b', true],
  ['<.*>', true],
  ['[\\b^.]\\.\\\\', false],
])('the pattern %s looks around: %s', (pattern, expected) => {
  expect(looksAround(pattern)).toBe(expected)
})
