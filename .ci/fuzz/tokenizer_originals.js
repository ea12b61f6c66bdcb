/** Small tokenizers of every kind of model, and the files beside them, before they are damaged. */
import { byteLevelCharacters } from '../../dist/formats/tokenizer/token_bytes.js'

const encoder = new TextEncoder()
export const bytesOf = (value) => encoder.encode(JSON.stringify(value))

export const letters = [...'abcdefghijklmnopqrstuvwxyz19\u2581,\u00e9\u6771']
const ids = (tokens) => Object.fromEntries(tokens.map((token, id) => [token, id]))
export const merges = [
  ['h', 'e'],
  ['t', 'he'],
  ['a', 'a'],
  ['aa', 'aa'],
  ['s', 'e'],
  ['se', 'a'],
]
export const tokens = (symbols) => [...new Set([...symbols, ...merges.map((pair) => pair.join(''))])]
const added = [
  {
    id: 600,
    content: '<end>',
    special: true,
    single_word: false,
    lstrip: true,
    rstrip: true,
    normalized: false,
  },
  {
    id: 601,
    content: 'sea',
    special: false,
    single_word: true,
    lstrip: false,
    rstrip: false,
    normalized: true,
  },
]
const file = (rest) => ({
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: added,
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  ...rest,
})
const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
export const split = (Regex) => ({
  type: 'Sequence',
  pretokenizers: [
    { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
    { ...byteLevel, use_regex: false },
  ],
})
const bpe = (symbols, rest) => ({
  type: 'BPE',
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  ignore_merges: false,
  vocab: ids(tokens(symbols)),
  merges,
  ...rest,
})
export const bos = {
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: '<end>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
  special_tokens: { '<end>': { id: '<end>', ids: [600], tokens: ['<end>'] } },
}
const marks = { type: 'Metaspace', replacement: '\u2581', prepend_scheme: 'always', split: true }
export const tokenizers = [
  file({
    pre_tokenizer: byteLevel,
    decoder: byteLevel,
    model: bpe(byteLevelCharacters),
    post_processor: bos,
  }),
  file({
    normalizer: { type: 'NFC' },
    pre_tokenizer: split(
      "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    ),
    decoder: byteLevel,
    model: bpe(byteLevelCharacters),
  }),
  file({
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '\u2581' },
        { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
      ],
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: bpe(['<unk>', '<0x0A>', '<0xE6>', ...letters], {
      unk_token: '<unk>',
      byte_fallback: true,
      fuse_unk: true,
    }),
  }),
  file({
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'WhitespaceSplit' },
        { type: 'Digits', individual_digits: true },
        { type: 'Punctuation', behavior: 'Isolated' },
        marks,
      ],
    },
    decoder: marks,
    model: {
      type: 'Unigram',
      unk_id: 0,
      byte_fallback: false,
      vocab: ['<unk>', ...letters, '\u2581the', 'aaa'].map((token, id) => [token, -1 - id / 7]),
    },
  }),
  file({
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: ids(['[UNK]', ...letters, ...letters.map((c) => `##${c}`), 'the']),
    },
  }),
].map(bytesOf)
export const beside = {
  'tokenizer_config.json': bytesOf({
    bos_token: '<end>',
    eos_token: { content: '<end>', lstrip: false },
    unk_token: null,
    chat_template: '{{ messages[0].content }}',
  }),
  'special_tokens_map.json': bytesOf({ pad_token: '<end>' }),
  'generation_config.json': bytesOf({ eos_token_id: [1, 2], bos_token_id: 0 }),
  'config.json': bytesOf({ eos_token_id: 3 }),
}
