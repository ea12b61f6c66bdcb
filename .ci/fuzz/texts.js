/** Readers of what turns text into ids and messages into text: tokenizer.json, the tokenizer of a GGUF, chat templates. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bytesSource } from '../../dist/formats/file.js'
import { openGgufSource } from '../../dist/formats/gguf/container.js'
import { gguf } from '../../dist/formats/gguf/metadata.js'
import { layOutGguf } from '../../dist/formats/gguf/writer.js'
import {
  chatTemplate,
  chatTemplateSources,
  ggufChatTemplateSources,
} from '../../dist/formats/tokenizer/chat_template.js'
import { ggufTokenizer } from '../../dist/formats/tokenizer/gguf_tokenizer.js'
import { byteLevelCharacters } from '../../dist/formats/tokenizer/token_bytes.js'
import { loadTokenizer } from '../../dist/formats/tokenizer/tokenizer.js'
import { loadVocabulary } from '../../dist/formats/tokenizer/vocabulary.js'
import { damageGguf } from './gguf.js'
import { expressions } from './hostile_values.js'
import { damageJson } from './json.js'
import { need } from './reading.js'
import { templateOf } from './templates.js'
import { beside, bos, bytesOf, letters, merges, split, tokenizers, tokens } from './tokenizer_originals.js'

const encoder = new TextEncoder()

const text = `Call me Ishmael. 12 the sea\u00e9 \u6771  aaaa<end> don't\n\n\u0000\ud800 ${'a'.repeat(60)} ${'ab '.repeat(20)}`

function useTokenizer(tokenizer) {
  try {
    const found = tokenizer.encode(text)
    tokenizer.decode(found, { skipSpecialTokens: true })
    const stream = tokenizer.encodeStream()
    for (const part of [text.slice(0, 20), text.slice(20)]) stream.write?.(part)
    for (const id of found.subarray(0, 8)) tokenizer.tokenText(id)
    for (const id of [0, tokenizer.vocabularySize - 1, tokenizer.vocabularySize, 2 ** 32 - 1])
      if (id >= 0) tokenizer.tokenBytes(id)
    const shown = tokenizer.stream({ skipSpecialTokens: true })
    for (const id of found.subarray(0, 8)) shown.write?.(id)
  } finally {
    tokenizer.dispose()
  }
}

const pieces = [
  ['normalizer', () => ({ type: 'Replace', pattern: { Regex: '' }, content: 'aa' })],
  [
    'normalizer',
    (random) => ({
      type: 'Replace',
      pattern: { Regex: random.pick(expressions) },
      content: random.pick(['', 'x', '\u2581'.repeat(300)]),
    }),
  ],
  [
    'normalizer',
    (random) => ({
      type: 'Sequence',
      normalizers: Array(random.pick([1, 3, 40])).fill({ type: 'Prepend', prepend: 'xx' }),
    }),
  ],
  ['normalizer', () => ({ type: 'Precompiled', precompiled_charsmap: 'AAAAAAAA/////w==' })],
  [
    'normalizer',
    (random) => ({
      type: random.pick(['NFD', 'NFKC', 'NFKD', 'StripAccents', 'Lowercase', 'Nmt', 'ByteLevel', 'Strip']),
    }),
  ],
  ['pre_tokenizer', (random) => split(random.pick(expressions))],
  [
    'pre_tokenizer',
    (random) => ({
      type: random.pick(['Whitespace', 'WhitespaceSplit', 'UnicodeScripts', 'BertPreTokenizer', 'Nothing']),
    }),
  ],
  ['pre_tokenizer', (random) => ({ type: 'CharDelimiterSplit', delimiter: random.pick(['a', '', 'ab']) })],
  ['pre_tokenizer', (random) => ({ type: 'FixedLength', length: random.pick([0, 1, 2 ** 53]) })],
  [
    'decoder',
    (random) => ({
      type: 'Replace',
      pattern: { Regex: random.pick(expressions) },
      content: 'x'.repeat(random.pick([0, 1, 4000])),
    }),
  ],
  [
    'decoder',
    (random) => ({
      type: 'Strip',
      content: 'a',
      start: random.pick([0, 1, 2 ** 40]),
      stop: random.pick([0, 1, 2 ** 53]),
    }),
  ],
  [
    'decoder',
    (random) => ({
      type: random.pick(['CTC', 'BPEDecoder', 'Fuse', 'ByteFallback', 'WordPiece']),
      pad_token: '',
      word_delimiter_token: '',
      suffix: '',
      prefix: '',
    }),
  ],
  ['post_processor', () => ({ type: 'BertProcessing', sep: ['[SEP]', 2 ** 31], cls: ['[CLS]', 0] })],
  [
    'post_processor',
    (random) => ({
      ...bos,
      special_tokens: {
        '<end>': {
          id: '<end>',
          ids: Array(random.pick([0, 1, 3, 100_000])).fill(0),
          tokens: Array(random.pick([0, 1, 3])).fill('a'),
        },
      },
    }),
  ],
  [
    'truncation',
    (random) => ({
      direction: 'Right',
      max_length: random.pick([0, 1, 2 ** 53]),
      strategy: 'LongestFirst',
      stride: random.pick([0, 5, 2 ** 53]),
    }),
  ],
  [
    'padding',
    (random) => ({
      strategy: { Fixed: random.pick([1, 2 ** 31, 2 ** 53]) },
      direction: 'Right',
      pad_to_multiple_of: random.pick([null, 0, 8, 2 ** 40]),
      pad_id: 0,
      pad_type_id: 0,
      pad_token: '[PAD]',
    }),
  ],
]
const tokenizer = {
  name: 'tokenizer',
  make(random) {
    const original = random.pick(tokenizers)
    if (random.once(5)) {
      const name = random.pick(Object.keys(beside))
      return { ...beside, 'tokenizer.json': original, [name]: damageJson(beside[name], random) }
    }
    if (random.once(3)) {
      const [part, make] = random.pick(pieces)
      const changed = bytesOf({ ...JSON.parse(Buffer.from(original).toString()), [part]: make(random) })
      return { ...beside, 'tokenizer.json': random.once(2) ? changed : damageJson(changed, random) }
    }
    return { ...beside, 'tokenizer.json': damageJson(original, random) }
  },
  read(files, place, random) {
    const folder = place.folder(files)
    chatTemplateSources(folder)
    useTokenizer(loadTokenizer(folder))
    if (random.once(4)) need(loadVocabulary(folder).vocabularySize >= 0, 'a vocabulary of less than nothing')
  },
}

const sentencePiece = [
  '<unk>',
  '<s>',
  '</s>',
  '<0x0A>',
  '<0x41>',
  ...letters,
  '\u2581a',
  'th',
  'the',
  '\u2581the',
  'aa',
]
const tokenizerFile = (metadata) =>
  layOutGguf(new Map([['general.architecture', gguf.string('llama')], ...metadata]), []).head
const ggufTokenizers = [
  tokenizerFile([
    ['tokenizer.ggml.model', gguf.string('llama')],
    ['tokenizer.ggml.tokens', gguf.strings(sentencePiece)],
    ['tokenizer.ggml.scores', gguf.f32s(sentencePiece.map((_, id) => -id))],
    [
      'tokenizer.ggml.token_type',
      gguf.i32s(sentencePiece.map((_, id) => (id < 3 ? (id === 0 ? 2 : 3) : id < 5 ? 6 : 1))),
    ],
    ['tokenizer.ggml.bos_token_id', gguf.u32(1)],
    ['tokenizer.ggml.eos_token_id', gguf.u32(2)],
    ['tokenizer.ggml.add_bos_token', gguf.bool(true)],
    ['tokenizer.ggml.add_space_prefix', gguf.bool(true)],
    [
      'tokenizer.chat_template',
      gguf.string('{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}'),
    ],
  ]),
  ...['gpt-2', 'llama-bpe', 'qwen2', 'smollm', 'default'].map((pre) =>
    tokenizerFile([
      ['tokenizer.ggml.model', gguf.string('gpt2')],
      ['tokenizer.ggml.pre', gguf.string(pre)],
      ['tokenizer.ggml.tokens', gguf.strings([...tokens(byteLevelCharacters), '<end>'])],
      ['tokenizer.ggml.token_type', gguf.i32s([...tokens(byteLevelCharacters).map(() => 1), 3])],
      ['tokenizer.ggml.merges', gguf.strings(merges.map((pair) => pair.join(' ')))],
      ['tokenizer.ggml.eos_token_id', gguf.u32(0)],
    ]),
  ),
]
const ggufTokenizerReader = {
  name: 'gguf-tokenizer',
  make: (random) => ({ 'm.gguf': damageGguf(random.pick(ggufTokenizers), random) }),
  read(files) {
    const archive = openGgufSource(bytesSource('m.gguf', files['m.gguf']))
    try {
      ggufChatTemplateSources(archive.metadata)
      useTokenizer(ggufTokenizer(archive.metadata))
    } finally {
      archive.close()
    }
  },
}

/** The templates of real models in the golden values. */
const goldenChats = JSON.parse(
  readFileSync(
    fileURLToPath(new URL('../../src/formats/tokenizer/golden/chats.json', import.meta.url)),
    'utf8',
  ),
)
const messages = [
  { role: 'system', content: 'You are x.' },
  { role: 'user', content: 'Call me Ishmael.' },
  { role: 'assistant', content: 'x\ny', tool_calls: [{ function: { name: 'f', arguments: { a: 1 } } }] },
]
const template = {
  name: 'chat-template',
  make: (random) => ({ 'chat_template.jinja': templateOf(templateTexts, random) }),
  read(files) {
    const program = chatTemplate(Buffer.from(files['chat_template.jinja']).toString('utf8'), {
      bosToken: '<s>',
      eosToken: '</s>',
    })
    const written = program.render(messages, { addGenerationPrompt: true, now: new Date(0) })
    need(typeof written === 'string', 'a template that writes no text')
  },
}
const templateTexts = templatesIn(goldenChats).map((source) => encoder.encode(source))
function templatesIn(value) {
  const found = new Set()
  const open = [value]
  while (open.length > 0) {
    const at = open.pop()
    if (typeof at === 'string' && at.includes('{%')) found.add(at)
    else if (typeof at === 'object' && at !== null) open.push(...Object.values(at))
  }
  return [
    ...found,
    '{% for m in messages %}<|{{ m.role }}|>{{ m.content|trim }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}',
  ]
}

export const textReaders = [tokenizer, ggufTokenizerReader, template]
