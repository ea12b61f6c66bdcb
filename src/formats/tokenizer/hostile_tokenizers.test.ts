/** tokenizer.json files that ask for what cannot be done: they end in a typed error, whatever the native core meets. */
import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { byteLevel, byteLevelModel, parts } from './small_tokenizers.suite.ts'
import { createTokenizer } from './tokenizer.ts'
import { type JsonRecord, parseTokenizerJson } from './tokenizer_json.ts'

const tokenizer = (rest: JsonRecord) =>
  createTokenizer(
    JSON.stringify(parts({ pre_tokenizer: byteLevel(false, true), model: byteLevelModel, ...rest })),
  )
const code = (expected: string) => expect.objectContaining({ code: expected, constructor: FormatError })

test('a decoder that cuts more than a token has is a damaged file', () => {
  const cutting = tokenizer({ decoder: { type: 'Strip', content: 'a', start: 0, stop: 5 } })
  expect(() => cutting.decode(cutting.encode('aaaa'))).toThrow(code('PARE_E_TOKENIZER_RULES'))
  expect(() => cutting.tokenBytes(cutting.encode('a')[0]!)).toThrow(code('PARE_E_TOKENIZER_RULES'))
})
test('pieces of no length are a damaged file, not a text that cannot be encoded', () => {
  const pieces = tokenizer({ pre_tokenizer: { type: 'FixedLength', length: 0 } })
  expect(() => pieces.encode('some text')).toThrow(code('PARE_E_TOKENIZER_RULES'))
})
test.each([
  ['normalizer', 'normalizers'],
  ['pre_tokenizer', 'pretokenizers'],
  ['decoder', 'decoders'],
])('sequences of a %s in sequences without end are refused', (part, list) => {
  const open = `{"type":"Sequence","${list}":[`
  const text = JSON.stringify(parts({ model: byteLevelModel, [part]: 'HERE' }))
  const nested = (depth: number) => text.replace('"HERE"', open.repeat(depth) + ']}'.repeat(depth))
  for (const depth of [17, 100, 20_000])
    expect(() => createTokenizer(nested(depth)), `${depth}`).toThrow(code('PARE_E_TOKENIZER_JSON'))
})
test('JSON that would take many times its size in memory is refused before it is made', () => {
  const text = JSON.stringify(parts({ model: byteLevelModel }))
  // 4,500,000 lists count 72 bytes each, of which 3 are in the file.
  const lists = text.replace('{', `{"more":[${'[],'.repeat(4_500_000)}[]],`)
  expect(() => createTokenizer(lists)).toThrow(code('PARE_E_TOKENIZER_JSON'))
  expect(() => createTokenizer(lists)).toThrow(/tokenizer\.json: .* more than 268435456 bytes of memory/)
})
test('as many tokens and merges as the largest known vocabulary has are read, without blanks too', () => {
  const letters = (i: number) => i.toString(26).padStart(5, '0')
  const vocab = Object.fromEntries(Array.from({ length: 262_144 }, (_, i) => [letters(i), i]))
  const merges = Array.from({ length: 514_906 }, (_, i) => [letters(i % 9000), letters(i % 999)])
  const text = JSON.stringify({ model: { type: 'BPE', vocab, merges } })
  const { model } = parseTokenizerJson(text)
  expect((model.merges as string[][]).at(-1)).toEqual(merges.at(-1))
})
test('a key that stands twice is refused, as in every JSON file', () => {
  const text = JSON.stringify(parts({ model: byteLevelModel })).replace('{', '{"model":{},')
  expect(() => createTokenizer(text)).toThrow(code('PARE_E_TOKENIZER_JSON'))
})
test('an added token that would take the native core a minute is refused, one of 512 bytes is found', () => {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  const withToken = (content: string) => tokenizer({ added_tokens: [{ id: 600, content, ...flags }] })
  const longest = 'x'.repeat(512)
  expect([...withToken(longest).encode(`a${longest}`)].at(-1)).toBe(withToken(longest).idOf(longest))
  expect(() => withToken('x'.repeat(513))).toThrow(code('PARE_E_TOKENIZER_JSON'))
  // Two bytes a character.
  expect(() => withToken('\u00e9'.repeat(257))).toThrow(code('PARE_E_TOKENIZER_JSON'))
})
