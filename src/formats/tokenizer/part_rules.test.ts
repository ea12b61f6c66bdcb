import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { binding } from '../../tensor/binding.ts'
import { openGguf } from '../gguf/container.ts'
import { type GgufValue, gguf } from '../gguf/metadata.ts'
import { asset, smollm2 } from './assets.suite.ts'
import { sentencePieceSpaces, tokenizerJsonOfGguf } from './gguf_tokenizer.ts'
import { looksAround, partRules } from './part_rules.ts'
import { preTokenizerOf } from './pre_tokenizers.ts'
import { byteLevelCharacters } from './token_bytes.ts'
import { type JsonRecord, parseTokenizerJson } from './tokenizer_json.ts'

const vocabulary = (tokens: readonly string[]) => Object.fromEntries(tokens.map((token, id) => [token, id]))
const added = (content: string, flags: object = {}) => ({
  content,
  special: true,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  ...flags,
})
const addedTokens = (size: number, ...tokens: object[]) =>
  tokens.map((token, index) => ({ ...token, id: size + index }))
const parts = (rest: JsonRecord) => ({
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  ...rest,
})

/** Words and runs, and with `across` also merges over a blank. */
const merges = (blank: string, across: boolean): [string, string][] => [
  ['h', 'e'],
  ['t', 'he'],
  [blank, 'the'],
  [blank, 'a'],
  ['a', 'a'],
  ['aa', 'aa'],
  ['aaaa', 'aaaa'],
  [blank, blank],
  [blank + blank, blank + blank],
  ['s', 'e'],
  ['se', 'a'],
  [blank, 'sea'],
  ['1', '9'],
  ...((across
    ? [
        ['e', blank],
        [`e${blank}`, 'sea'],
        ['a', `${blank}a`],
        [`a${blank}a`, `a${blank}a`],
      ]
    : []) as [string, string][]),
]
const bpe = (symbols: readonly string[], pairs: readonly [string, string][], rest: JsonRecord = {}) => {
  const tokens = [...new Set([...symbols, ...pairs.map((pair) => pair.join(''))])]
  return { type: 'BPE', vocab: vocabulary(tokens), merges: pairs, ...rest }
}
const byteLevelModel = bpe(byteLevelCharacters, merges('Ġ', false))
const byteNames = Array.from(
  { length: 256 },
  (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`,
)
const letters = [...'abcdefghijklmnopqrstuvwxyz19▁,é東']
const sentencePiece = (symbols: readonly string[], across: boolean) =>
  bpe(['<unk>', ...symbols, ...letters], merges('▁', across), {
    unk_token: '<unk>',
    fuse_unk: true,
    byte_fallback: symbols.length > 0,
  })
const wordPiece = {
  type: 'WordPiece',
  unk_token: '[UNK]',
  continuing_subword_prefix: '##',
  max_input_chars_per_word: 100,
  vocab: vocabulary(['[UNK]', ...letters, ...letters.map((c) => `##${c}`), 'the', 'sea', '##se']),
}
const unigram = {
  type: 'Unigram',
  unk_id: 0,
  vocab: ['<unk>', '▁', ...letters.filter((c) => c !== '▁'), '▁the', '▁sea', 'aaa', '▁a', 'the▁'].map(
    (token, index) => [token, -1 - index / 7],
  ),
}
const metaspace = (prepend_scheme: string, split: boolean) => ({
  type: 'Metaspace',
  replacement: '▁',
  prepend_scheme,
  split,
})
const sequence = (...pretokenizers: JsonRecord[]) => ({ type: 'Sequence', pretokenizers })
const byteLevel = (add_prefix_space: boolean, use_regex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space,
  trim_offsets: true,
  use_regex,
})
const ends = addedTokens(600, added('<end>'), added('<user>', { special: false }))
const greedyEnds = addedTokens(
  600,
  added('<end>', { lstrip: true, rstrip: true }),
  added(' the', { special: false }),
  added('sea', { single_word: true }),
  added('  ', { special: false }),
)
const normalizedEnds = addedTokens(
  600,
  added('<end>', { normalized: true }),
  added('The', { normalized: true }),
)

function trainedSentencePiece(): JsonRecord {
  const file = new URL('golden/sentencepiece.json', import.meta.url)
  const { tokens, scores, types } = JSON.parse(readFileSync(file, 'utf8'))
  const metadata = new Map<string, GgufValue>([
    ['tokenizer.ggml.model', gguf.string('llama')],
    ['tokenizer.ggml.tokens', gguf.strings(tokens)],
    ['tokenizer.ggml.scores', gguf.f32s(scores)],
    ['tokenizer.ggml.token_type', gguf.i32s(types)],
  ])
  return JSON.parse(tokenizerJsonOfGguf(metadata).json)
}

const tokenizers: [string, JsonRecord][] = [
  ...['gpt-2', 'smollm', 'llama-bpe', 'qwen2', 'default'].map((name): [string, JsonRecord] => {
    const { part, ignoreMerges } = preTokenizerOf(name)
    const model = { ...byteLevelModel, ignore_merges: ignoreMerges }
    return [name, parts({ pre_tokenizer: part, model, added_tokens: ends })]
  }),
  [
    'byte-level with greedy added tokens',
    parts({ pre_tokenizer: byteLevel(false, true), model: byteLevelModel, added_tokens: greedyEnds }),
  ],
  [
    'byte-level with a blank in front',
    parts({ pre_tokenizer: byteLevel(true, true), model: byteLevelModel, added_tokens: ends }),
  ],
  [
    'byte-level in one piece',
    parts({
      pre_tokenizer: byteLevel(false, false),
      model: bpe(byteLevelCharacters, merges('Ġ', true)),
      added_tokens: ends,
    }),
  ],
  [
    'composed and byte-level',
    parts({
      normalizer: { type: 'NFC' },
      pre_tokenizer: preTokenizerOf('qwen2').part,
      model: byteLevelModel,
      added_tokens: ends,
    }),
  ],
  [
    'in lower case, with added tokens found after it',
    parts({
      normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKD' }, { type: 'Lowercase' }] },
      pre_tokenizer: byteLevel(false, true),
      model: byteLevelModel,
      added_tokens: normalizedEnds,
    }),
  ],
  ...[true, false].flatMap((prefix) =>
    [true, false].map((across): [string, JsonRecord] => [
      `SentencePiece${prefix ? ' with a blank in front' : ''}${across ? ', merges across blanks' : ''}`,
      parts({
        normalizer: sentencePieceSpaces(prefix).normalizer,
        model: sentencePiece(byteNames, across),
        added_tokens: ends,
      }),
    ]),
  ),
  ['a trained SentencePiece vocabulary', trainedSentencePiece()],
  [
    'SentencePiece without bytes, unknown characters fused',
    parts({ normalizer: sentencePieceSpaces(true).normalizer, model: sentencePiece([], true) }),
  ],
  [
    'SentencePiece with greedy added tokens',
    parts({
      normalizer: sentencePieceSpaces(true).normalizer,
      model: sentencePiece(byteNames, false),
      added_tokens: greedyEnds,
    }),
  ],
  ...['always', 'first', 'never'].flatMap((scheme) =>
    [true, false].map((split): [string, JsonRecord] => [
      `Metaspace ${scheme}${split ? '' : ', in one piece'}`,
      parts({
        pre_tokenizer: metaspace(scheme, split),
        model: sentencePiece(byteNames, true),
        added_tokens: ends,
      }),
    ]),
  ),
  [
    'Unigram on words',
    parts({
      pre_tokenizer: sequence({ type: 'WhitespaceSplit' }, metaspace('first', true)),
      model: unigram,
      added_tokens: ends,
    }),
  ],
  [
    'WordPiece',
    parts({
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: null,
        lowercase: true,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      model: wordPiece,
      added_tokens: normalizedEnds,
    }),
  ],
  [
    'matches that are removed across blanks',
    parts({
      pre_tokenizer: sequence(
        { type: 'Split', pattern: { Regex: 'e a|a+ a' }, behavior: 'Removed', invert: false },
        byteLevel(false, true),
      ),
      model: byteLevelModel,
    }),
  ],
  [
    'the fifth and sixth character together, whatever they are',
    parts({
      pre_tokenizer: sequence(
        { type: 'Split', pattern: { Regex: '[^☃]{4}|[^☃]{2}' }, behavior: 'Isolated', invert: false },
        byteLevel(false, false),
      ),
      model: byteLevelModel,
    }),
  ],
]

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
