/** Small tokenizers of every kind of model and pre-tokenizer that is read, as tokenizer.json. */
import { readFileSync } from 'node:fs'
import { type GgufValue, gguf } from '../gguf/metadata.ts'
import { sentencePieceSpaces, tokenizerJsonOfGguf } from './gguf_tokenizer.ts'
import { preTokenizerOf } from './pre_tokenizers.ts'
import { byteLevelCharacters } from './token_bytes.ts'
import type { JsonRecord } from './tokenizer_json.ts'

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
export const parts = (rest: JsonRecord) => ({
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
export const byteLevelModel = bpe(byteLevelCharacters, merges('Ġ', false))
export const byteNames = Array.from(
  { length: 256 },
  (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`,
)
const letters = [...'abcdefghijklmnopqrstuvwxyz19▁,é東']
export const sentencePiece = (symbols: readonly string[], across: boolean) =>
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
export const unigram = {
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
export const byteLevel = (add_prefix_space: boolean, use_regex: boolean) => ({
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

export const tokenizers: [string, JsonRecord][] = [
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
