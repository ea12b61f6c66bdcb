import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { OptionError } from '../../tensor/errors.ts'
import { sentencePieceSpaces } from './gguf_tokenizer.ts'
import { byteLevelCharacters } from './token_bytes.ts'
import { createTokenizer, loadTokenizer, type Tokenizer } from './tokenizer.ts'

const code = (expected: string) => expect.objectContaining({ code: expected })
const added = (id: number, content: string, special: boolean) => ({
  id,
  content,
  special,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
})
const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
const parts = (model: object, rest: object = {}) => ({
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: [] as object[],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  model,
  ...rest,
})
const vocabulary = (tokens: readonly string[]) => Object.fromEntries(tokens.map((token, id) => [token, id]))
/** Every byte is a token, "é" is one, and 257 ends a text. */
const bytes = parts(
  { type: 'BPE', vocab: vocabulary([...byteLevelCharacters, 'Ã©']), merges: [['Ã', '©']] },
  {
    pre_tokenizer: byteLevel,
    decoder: byteLevel,
    added_tokens: [added(257, '<end>', true), added(258, '<user>', false)],
  },
)
const make = (json: unknown) => createTokenizer(JSON.stringify(json))

describe('streams', () => {
  const streamed = (tokenizer: Tokenizer, ids: Iterable<number>) => {
    const stream = tokenizer.stream()
    const pieces = [...ids].map((id) => stream.push(id))
    return [...pieces, stream.end()]
  }
  test('a character of four bytes comes at once, when its last byte has come', () => {
    const tokenizer = make(bytes)
    expect(streamed(tokenizer, tokenizer.encode('a😀é'))).toEqual(['a', '', '', '', '😀', 'é', ''])
  })
  test('pieces joined are the decoded text, also for bytes that are no UTF-8', () => {
    const tokenizer = make(bytes)
    fc.assert(
      fc.property(fc.array(fc.nat(258), { maxLength: 40 }), (ids) => {
        expect(streamed(tokenizer, ids).join('')).toBe(tokenizer.decode(ids))
      }),
    )
  })
  test('no piece of a text holds a broken character', () => {
    const tokenizer = make(bytes)
    fc.assert(
      // U+FFFD is a grapheme too, and whole.
      fc.property(fc.string({ unit: 'grapheme' }), (drawn) => {
        const text = drawn.replaceAll('\ufffd', '')
        for (const piece of streamed(tokenizer, tokenizer.encode(text))) expect(piece).not.toContain('\ufffd')
      }),
    )
  })
  test('a character that never ends becomes U+FFFD at the end, and the stream can be used again', () => {
    const stream = make(bytes).stream()
    expect([stream.push(0xf0), stream.push(0x9f), stream.end(), stream.push(0x41)]).toEqual([
      '',
      '',
      '\ufffd',
      'A',
    ])
  })
  test('special tokens are left out where asked for, and user tokens are not', () => {
    const stream = make(bytes).stream({ skipSpecialTokens: true })
    expect([stream.push(257), stream.push(258)]).toEqual(['', '<user>'])
  })
  test('a SentencePiece stream drops the blank in front of the first token only', () => {
    const tokens = ['<unk>', '\u2581', 'a', '\u2581a', '<0xC3>', '<0xA9>']
    const model = {
      type: 'BPE',
      vocab: vocabulary(tokens),
      merges: [['\u2581', 'a']],
      unk_token: '<unk>',
      byte_fallback: true,
      fuse_unk: true,
    }
    const tokenizer = make(parts(model, sentencePieceSpaces(true)))
    const ids = tokenizer.encode('a aé')
    expect([...ids]).toEqual([3, 3, 4, 5])
    expect(streamed(tokenizer, ids)).toEqual(['a', ' a', '', 'é', ''])
    expect(tokenizer.decode(ids)).toBe('a aé')
  })
  test('a WordPiece stream joins the parts of words as decoding does', () => {
    const model = {
      type: 'WordPiece',
      vocab: vocabulary(['[UNK]', 'un', '##able', 'to', '.']),
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
    }
    const decoder = { type: 'WordPiece', prefix: '##', cleanup: false }
    const tokenizer = make(parts(model, { pre_tokenizer: { type: 'BertPreTokenizer' }, decoder }))
    const ids = tokenizer.encode('unable to.')
    expect(streamed(tokenizer, ids)).toEqual(['un', 'able', ' to', ' .', ''])
    expect(tokenizer.decode(ids)).toBe('unable to .')
  })
})

describe('tokens', () => {
  test('are known by text, id and bytes', () => {
    const tokenizer = make(bytes)
    expect(tokenizer.idOf('Ã©')).toBe(256)
    expect([tokenizer.token(256), tokenizer.tokenText(256), tokenizer.tokenText(0xc3)]).toEqual([
      'Ã©',
      'é',
      '\ufffd',
    ])
    expect([...tokenizer.tokenBytes(256)]).toEqual([0xc3, 0xa9])
    expect([tokenizer.isSpecial(257), tokenizer.isSpecial(258), tokenizer.idOf('nothing')]).toEqual([
      true,
      false,
      undefined,
    ])
    expect(tokenizer.vocabularySize).toBe(259)
    expect(tokenizer.token(4_000_000)).toBeUndefined()
    expect(JSON.parse(tokenizer.json())).toEqual(bytes)
  })
  test.each([-1, 0.5, 2 ** 32, Number.NaN])('id %f is refused', (id) => {
    const tokenizer = make(bytes)
    expect(() => tokenizer.decode([id])).toThrow(code('PARE_E_TOKEN_ID'))
    expect(() => tokenizer.token(id)).toThrow(code('PARE_E_TOKEN_ID'))
  })
  test('a disposed tokenizer says so, also when it is disposed twice', () => {
    const tokenizer = make(bytes)
    tokenizer.dispose()
    tokenizer.dispose()
    expect(() => tokenizer.encode('a')).toThrow(code('PARE_E_DISPOSED'))
  })
  test('a run of white space longer than pre-tokenisers bear is refused, a shorter one is encoded', () => {
    const tokenizer = make(bytes)
    expect(() => tokenizer.encode(' '.repeat(500_001))).toThrow(OptionError)
    const text = `${' '.repeat(400_000)}a b`
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
  })
})

describe('a tokenizer.json that cannot be used is refused', () => {
  const replace = (content: string) => ({ type: 'Replace', pattern: { String: 'a' }, content })
  const growing = { type: 'Sequence', normalizers: Array(30).fill(replace('aaaa')) }
  const cases: [string, string][] = [
    ['no JSON', '{'],
    ['a list', '[]'],
    ['no model', '{"version":"1.0"}'],
    ['a model of no known type', JSON.stringify(parts({ type: 'Morse' }))],
    ['an added token without an id', JSON.stringify({ ...bytes, added_tokens: [{ content: 'x' }] })],
    ['a normaliser without a type', JSON.stringify({ ...bytes, normalizer: {} })],
    [
      'a regular expression that is none',
      JSON.stringify({ ...bytes, normalizer: { ...replace(''), pattern: { Regex: '(' } } }),
    ],
    ['replacements that blow texts up', JSON.stringify({ ...bytes, normalizer: growing })],
    [
      'an id that no table holds',
      JSON.stringify(parts({ type: 'BPE', vocab: { a: 4294967295 }, merges: [] })),
    ],
    [
      'a merge of tokens that are not there',
      JSON.stringify(parts({ type: 'BPE', vocab: { a: 0 }, merges: [['a', 'b']] })),
    ],
    ['lists nested deep', `${'['.repeat(100_000)}${']'.repeat(100_000)}`],
  ]
  test.each(cases)('%s', (_, json) => {
    expect(() => createTokenizer(json)).toThrow(code('PARE_E_TOKENIZER_JSON'))
  })
})

describe('special ids of a folder', () => {
  let folder: string
  const write = (name: string, value: unknown) => writeFileSync(join(folder, name), JSON.stringify(value))
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'pare-tokenizer-'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  test('a folder without tokenizer.json is refused', () => {
    expect(() => loadTokenizer(folder)).toThrow(code('PARE_E_TOKENIZER_MISSING'))
  })
  test('come from the files in their order', () => {
    write('tokenizer.json', bytes)
    write('config.json', { bos_token_id: 1, eos_token_id: 3 })
    expect(loadTokenizer(folder)).toMatchObject({ bosId: 1, eosIds: [3] })
    write('generation_config.json', { bos_token_id: 2, eos_token_id: [258, 4], pad_token_id: 5 })
    expect(loadTokenizer(folder)).toMatchObject({ bosId: 2, eosIds: [258, 4], paddingId: 5 })
    write('special_tokens_map.json', {
      eos_token: { content: '<user>' },
      unk_token: '<user>',
      pad_token: '<end>',
    })
    expect(loadTokenizer(folder)).toMatchObject({ eosIds: [258, 4], unknownId: 258, paddingId: 257 })
    write('tokenizer_config.json', { eos_token: '<end>', bos_token: null, pad_token: '<not there>' })
    expect(loadTokenizer(folder)).toMatchObject({ bosId: 2, eosIds: [257, 258, 4], paddingId: 257 })
  })
  test('a damaged file beside it is refused by name', () => {
    writeFileSync(join(folder, 'tokenizer_config.json'), '[]')
    expect(() => loadTokenizer(folder)).toThrow(/tokenizer_config\.json: an object is needed/)
  })
})
