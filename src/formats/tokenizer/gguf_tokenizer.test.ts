import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { FormatError, OptionError } from '../../tensor/errors.ts'
import { openGguf } from '../gguf/container.ts'
import { type GgufMetadata, type GgufValue, gguf } from '../gguf/metadata.ts'
import { asset, smollm2 } from './assets.suite.ts'
import { ggufTokenizer, tokenizerJsonOfGguf } from './gguf_tokenizer.ts'
import { ggufTokenizerMetadata } from './gguf_tokenizer_metadata.ts'
import { byteLevelCharacters } from './token_bytes.ts'
import { createTokenizer, loadTokenizer } from './tokenizer.ts'

const golden = (name: string) => JSON.parse(readFileSync(new URL(`golden/${name}`, import.meta.url), 'utf8'))
const sample: string[] = golden('sample.json')
const sampleIds: { smollm: number[][]; sha256: Record<string, string>; minilm: string } =
  golden('sample_ids.json')
const digest = (lists: number[][]) => createHash('sha256').update(JSON.stringify(lists)).digest('hex')
const code = (expected: string) => expect.objectContaining({ code: expected })

/** A copy with other values; undefined takes a key out. */
const changed = (metadata: GgufMetadata, changes: Record<string, GgufValue | undefined>): GgufMetadata => {
  const copy = new Map(metadata)
  for (const [key, value] of Object.entries(changes))
    if (value === undefined) copy.delete(key)
    else copy.set(key, value)
  return copy
}

/** All bytes, two merges, an end of text, and a hole. */
const tiny: GgufMetadata = new Map<string, GgufValue>([
  ['tokenizer.ggml.model', gguf.string('gpt2')],
  ['tokenizer.ggml.pre', gguf.string('gpt-2')],
  [
    'tokenizer.ggml.tokens',
    gguf.strings([...byteLevelCharacters, 'ab', 'abc', '[PAD258]', '<end>', '<user>']),
  ],
  ['tokenizer.ggml.token_type', gguf.i32s([...Array(258).fill(1), 5, 3, 4])],
  ['tokenizer.ggml.merges', gguf.strings(['a b', 'ab c'])],
  ['tokenizer.ggml.eos_token_id', gguf.u32(259)],
])

test('a byte-level vocabulary joins by its merges and keeps every byte', () => {
  const tokenizer = ggufTokenizer(tiny)
  expect([...tokenizer.encode('abcab<end><user>')]).toEqual([257, 256, 259, 260])
  expect(tokenizer.vocabularySize).toBe(261)
  expect(tokenizer.eosIds).toEqual([259])
  expect(tokenizer.token(258)).toBeUndefined()
  expect(tokenizer.decode([257, 259, 260], { skipSpecialTokens: true })).toBe('abc<user>')
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
    }),
  )
})
test('byte-level metadata comes back as it was, in id order with holes as unused tokens', () => {
  const { metadata, losses } = ggufTokenizerMetadata(ggufTokenizer(tiny), {
    vocabularySize: 262,
    chatTemplate: 'x',
  })
  expect(losses).toEqual([])
  expect(metadata.get('tokenizer.ggml.tokens')!.value).toEqual([
    ...(tiny.get('tokenizer.ggml.tokens')!.value as string[]),
    '[PAD261]',
  ])
  expect([...(metadata.get('tokenizer.ggml.token_type')!.value as Int32Array)]).toEqual([
    ...(tiny.get('tokenizer.ggml.token_type')!.value as Int32Array),
    5,
  ])
  for (const key of ['model', 'pre', 'merges', 'eos_token_id'])
    expect(metadata.get(`tokenizer.ggml.${key}`)!.value).toEqual(tiny.get(`tokenizer.ggml.${key}`)!.value)
  expect(metadata.get('tokenizer.ggml.add_bos_token')).toEqual(gguf.bool(false))
  expect(metadata.get('tokenizer.chat_template')).toEqual(gguf.string('x'))
})
test('a beginning of text is added where the file or its pre-tokeniser says so', () => {
  const bos = { 'tokenizer.ggml.bos_token_id': gguf.u32(259) }
  const ids = (metadata: GgufMetadata) => [...ggufTokenizer(metadata).encode('a')]
  const a = 97
  expect(ids(changed(tiny, bos))).toEqual([a])
  expect(ids(changed(tiny, { ...bos, 'tokenizer.ggml.add_bos_token': gguf.bool(true) }))).toEqual([259, a])
  const llama = changed(tiny, { ...bos, 'tokenizer.ggml.pre': gguf.string('llama-bpe') })
  expect(ids(llama)).toEqual([259, a])
  expect([...ggufTokenizer(llama).encode('a', { addSpecialTokens: false })]).toEqual([a])
  expect(
    ggufTokenizerMetadata(ggufTokenizer(llama)).metadata.get('tokenizer.ggml.add_bos_token')!.value,
  ).toBe(true)
})

describe('metadata that cannot be used is refused with its key', () => {
  const cases: [string, Parameters<typeof changed>[1], RegExp][] = [
    [
      'no merges',
      { 'tokenizer.ggml.merges': undefined },
      /ggml\.merges: a list of merges is needed, found none/,
    ],
    ['empty merges', { 'tokenizer.ggml.merges': gguf.strings([]) }, /ggml\.merges/],
    ['merge of no token', { 'tokenizer.ggml.merges': gguf.strings(['a z']) }, /merge 0 is "a z"/],
    ['merge of one part', { 'tokenizer.ggml.merges': gguf.strings(['ab']) }, /merge 0 is "ab"/],
    [
      'unknown pre',
      { 'tokenizer.ggml.pre': gguf.string('tekken\u001b') },
      /tekken\\u\{1b\} is not supported/,
    ],
    ['unknown model', { 'tokenizer.ggml.model': gguf.string('bert') }, /gpt2 or llama is needed, found bert/],
    ['no model', { 'tokenizer.ggml.model': undefined }, /found nothing/],
    ['no tokens', { 'tokenizer.ggml.tokens': undefined }, /ggml\.tokens/],
    ['tokens of numbers', { 'tokenizer.ggml.tokens': gguf.i32s([1]) }, /an array of strings/],
    ['repeated token', { 'tokenizer.ggml.tokens': gguf.strings(['a', 'a']) }, /tokens 0 and 1 are both "a"/],
    ['types too few', { 'tokenizer.ggml.token_type': gguf.i32s([1]) }, /one number a token/],
    ['id out of range', { 'tokenizer.ggml.eos_token_id': gguf.u32(261) }, /an id below 261/],
    [
      'bool as text',
      { 'tokenizer.ggml.add_bos_token': gguf.string('yes') },
      /a bool is needed, found string/,
    ],
  ]
  test.each(cases)('%s', (_, changes, message) => {
    const read = () => ggufTokenizer(changed(tiny, changes))
    expect(read).toThrow(FormatError)
    expect(read).toThrow(message)
  })
})
test('an embedding smaller than the vocabulary is refused', () => {
  expect(() => ggufTokenizerMetadata(ggufTokenizer(tiny), { vocabularySize: 260 })).toThrow(OptionError)
})
test('a tokenizer that GGUF has no word for is refused with its pre-tokeniser', () => {
  const json = JSON.parse(tokenizerJsonOfGguf(tiny).json)
  json.pre_tokenizer = { type: 'Sequence', pretokenizers: [{ type: 'Whitespace' }, json.pre_tokenizer] }
  expect(() => ggufTokenizerMetadata(createTokenizer(JSON.stringify(json)))).toThrow(
    code('PARE_E_PRE_TOKENIZER'),
  )
})
test('what GGUF cannot hold is told', () => {
  const json = JSON.parse(tokenizerJsonOfGguf(tiny).json)
  json.normalizer = { type: 'NFC' }
  json.added_tokens[0].lstrip = true
  const tokenizer = createTokenizer(JSON.stringify(json), () => ({ eosIds: [259, 260] }))
  expect(ggufTokenizerMetadata(tokenizer).losses).toEqual([
    'the normaliser NFC is left out',
    '1 added tokens no longer take blanks or word borders into account',
    'of 2 ids that end a text the first is kept',
  ])
})

describe('SentencePiece', () => {
  const small: { tokens: string[]; scores: number[]; types: number[]; ids: number[][] } =
    golden('sentencepiece.json')
  const metadata: GgufMetadata = new Map<string, GgufValue>([
    ['tokenizer.ggml.model', gguf.string('llama')],
    ['tokenizer.ggml.tokens', gguf.strings(small.tokens)],
    ['tokenizer.ggml.scores', gguf.f32s(small.scores)],
    ['tokenizer.ggml.token_type', gguf.i32s(small.types)],
    ['tokenizer.ggml.bos_token_id', gguf.u32(1)],
    ['tokenizer.ggml.eos_token_id', gguf.u32(2)],
    ['tokenizer.ggml.unknown_token_id', gguf.u32(0)],
  ])
  const plain = { addSpecialTokens: false }
  /** Control tokens written in a text are tokens here and plain text for the sentencepiece program. */
  const lines = [...sample.entries()].filter(([, line]) => !/<s>|<\/s>|<unk>/.test(line) && line !== '')

  test('ids of the sample equal those of the sentencepiece program', () => {
    const tokenizer = ggufTokenizer(metadata)
    for (const [i, line] of lines)
      expect([line, [...tokenizer.encode(line, plain)]]).toEqual([line, small.ids[i]])
  })
  test('text comes back, with a beginning of text by default', () => {
    const tokenizer = ggufTokenizer(metadata)
    // A U+2581 in the text cannot be told from a blank.
    for (const [, line] of lines)
      expect(tokenizer.decode(tokenizer.encode(line, plain))).toBe(line.replaceAll('\u2581', ' '))
    expect(tokenizer.encode('x')[0]).toBe(1)
  })
  test('metadata made from the tokenizer gives the same ids, tokens and types', () => {
    const tokenizer = ggufTokenizer(metadata)
    const made = ggufTokenizerMetadata(tokenizer).metadata
    expect(made.get('tokenizer.ggml.tokens')!.value).toEqual(small.tokens)
    expect([...(made.get('tokenizer.ggml.token_type')!.value as Int32Array)]).toEqual(small.types)
    expect(made.get('tokenizer.ggml.add_bos_token')!.value).toBe(true)
    expect(made.get('tokenizer.ggml.add_space_prefix')!.value).toBe(true)
    const again = ggufTokenizer(made)
    for (const [, line] of lines) expect(again.encode(line)).toEqual(tokenizer.encode(line))
  })
  test('merges that no scores can give are refused', () => {
    const json = JSON.parse(tokenizerJsonOfGguf(metadata).json)
    json.model.merges.splice(5, 1)
    const tokenizer = createTokenizer(JSON.stringify(json))
    expect(() => ggufTokenizerMetadata(tokenizer)).toThrow(/not those of a SentencePiece model/)
  })
  test('without a blank in front nothing is added or taken away', () => {
    const tokenizer = ggufTokenizer(
      changed(metadata, { 'tokenizer.ggml.add_space_prefix': gguf.bool(false) }),
    )
    for (const text of ['a', ' a', '  b c'])
      expect(tokenizer.decode(tokenizer.encode(text, plain))).toBe(text)
    expect(tokenizer.token(tokenizer.encode('the', plain)[0]!)!.startsWith('\u2581')).toBe(false)
    expect(ggufTokenizerMetadata(tokenizer).metadata.get('tokenizer.ggml.add_space_prefix')!.value).toBe(
      false,
    )
  })
  test('a missing score list is refused', () => {
    expect(() => ggufTokenizer(changed(metadata, { 'tokenizer.ggml.scores': undefined }))).toThrow(
      /ggml\.scores/,
    )
  })
})

const model = asset(smollm2)
describe.skipIf(model === undefined)('SmolLM2 (needs PARE_ASSETS)', () => {
  let metadata: GgufMetadata
  beforeAll(() => {
    metadata = openGguf(model!).metadata
  })

  test('ids of a sentence equal those of the reference program', () => {
    const ids = [
      ...ggufTokenizer(metadata).encode("Hello world! In 1964, W. N. Francis paid $12.50.\n\nIt's fine."),
    ]
    expect(ids).toEqual([
      19556, 905, 17, 533, 216, 33, 41, 38, 36, 28, 408, 30, 442, 30, 7262, 5940, 1885, 33, 34, 30, 37, 32,
      30, 198, 198, 1589, 506, 4979, 30,
    ])
  })
  test('ids of 200 multilingual lines equal those of an independent tokenizer, and decode to the lines', () => {
    const tokenizer = ggufTokenizer(metadata)
    for (const [i, line] of sample.entries()) {
      const ids = tokenizer.encode(line)
      expect([line, [...ids]]).toEqual([line, sampleIds.smollm[i]])
      expect(tokenizer.decode(ids)).toBe(line)
    }
  })
  test.each(['gpt-2', 'smollm', 'llama-bpe', 'qwen2', 'default'])(
    'pre-tokeniser %s gives the ids of an independent tokenizer, also over ends of lines',
    (pre) => {
      const tokenizer = ggufTokenizer(changed(metadata, { 'tokenizer.ggml.pre': gguf.string(pre) }))
      const ids = [...sample, sample.join('\n')].map((line) => [
        ...tokenizer.encode(line, { addSpecialTokens: false }),
      ])
      expect(digest(ids)).toBe(sampleIds.sha256[pre])
    },
  )
  test('metadata made from the tokenizer equals the file', () => {
    const made = ggufTokenizerMetadata(ggufTokenizer(metadata), { vocabularySize: 49152 })
    expect(made.losses).toEqual([])
    for (const [key, value] of made.metadata) expect([key, value]).toEqual([key, metadata.get(key)])
    const keys = [...metadata.keys()].filter((key) => key.startsWith('tokenizer.ggml.'))
    expect([...made.metadata.keys()].sort()).toEqual(keys.sort())
  })
})

const book = asset('data/text-moby-dick/data/data.txt')
describe.skipIf(model === undefined || book === undefined)('a whole book (needs PARE_ASSETS)', () => {
  test.each(['smollm', 'llama-bpe'])(
    'takes time in proportion to its length and comes back, %s',
    async (pre) => {
      const { metadata } = openGguf(model!)
      const tokenizer = ggufTokenizer(changed(metadata, { 'tokenizer.ggml.pre': gguf.string(pre) }))
      const text = readFileSync(book!, 'utf8')
      tokenizer.encode(text.slice(0, 1000))
      const start = performance.now()
      const ids = tokenizer.encode(text)
      // About one second on two shared cores; a quadratic pre-tokeniser would need minutes.
      expect(performance.now() - start).toBeLessThan(15_000)
      expect(tokenizer.decode(ids)).toBe(text)
      // A blank between two letters begins a pre-token everywhere, so that the parts have the ids of the whole.
      const pieces = text.match(/[\s\S]{500,}?\p{L}(?= \p{L})|[\s\S]+$/gu)!
      expect(pieces.join('')).toBe(text)
      expect(pieces.length).toBeGreaterThan(1000)
      expect(pieces.flatMap((piece) => [...tokenizer.encode(piece, { addSpecialTokens: false })])).toEqual([
        ...tokenizer.encode(text, { addSpecialTokens: false }),
      ])
    },
  )
})

const minilm = asset('models/minilm')
describe.skipIf(minilm === undefined)('MiniLM (needs PARE_ASSETS)', () => {
  test('a WordPiece tokenizer.json loads, without the truncation and padding that it asks for', () => {
    const tokenizer = loadTokenizer(minilm!)
    expect(digest(sample.map((line) => [...tokenizer.encode(line)]))).toBe(sampleIds.minilm)
    expect(tokenizer.encode('word '.repeat(1000)).length).toBe(1002)
    expect(tokenizer).toMatchObject({ unknownId: 100, paddingId: 0, vocabularySize: 30522, eosIds: [] })
    expect(() => ggufTokenizerMetadata(tokenizer)).toThrow(/BPE tokenizers, found WordPiece/)
  })
})
