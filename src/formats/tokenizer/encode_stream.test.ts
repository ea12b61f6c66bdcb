import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeStream, type PartEncoder } from './encode_stream.ts'
import { byteLevelCharacters } from './token_bytes.ts'
import { createTokenizer } from './tokenizer.ts'

/** One id a character; only what stands before the last blank is certain. */
const characters = (text: string) => Uint32Array.from(text, (c) => c.charCodeAt(0))
const tried: string[] = []
const encodePart: PartEncoder = (text, { continued, more }) => {
  tried.push(`${continued ? '~' : ''}${text}${more ? '~' : ''}`)
  const covered = more ? Math.max(0, text.lastIndexOf(' ')) : text.length
  return { ids: characters(text.slice(0, covered)), covered }
}
const never = () => {
  throw new Error('is not called')
}

describe('a stream', () => {
  test('gives the ids that are certain, goes on where they end, and begins again', () => {
    const stream = encodeStream(encodePart, never, { gathered: 4 })
    tried.length = 0
    const pushed = ['ab', 'c d', 'e', ' fgh'].map((text) => String.fromCharCode(...stream.push(text)))
    expect(pushed).toEqual(['', 'abc', '', ' de'])
    expect(String.fromCharCode(...stream.end())).toBe(' fgh')
    expect(String.fromCharCode(...stream.end())).toBe('')
    expect(tried).toEqual(['abc d~', '~ de fgh~', '~ fgh', ''])
  })
  test('a text that cannot be cut is tried again when it is twice as long', () => {
    const stream = encodeStream(encodePart, never, { gathered: 4 })
    tried.length = 0
    for (const text of Array<string>(20).fill('xy')) stream.push(text)
    expect(tried.map((text) => text.length - 1)).toEqual([4, 8, 16, 32])
  })
  test('a run that cannot be cut ends in an error once it is longer than the most, and not before', () => {
    const stream = encodeStream(encodePart, never, { gathered: 4, longest: 10 })
    for (const text of ['abcdefghij', ' ', 'abcdefghi']) stream.push(text)
    expect(() => stream.push('jk')).toThrow(
      /at most 10 characters without a place to cut are encoded, found 12/,
    )
  })
  test('without an encoder of parts the whole text waits for its end', () => {
    const stream = encodeStream(undefined, characters, { gathered: 1 })
    expect([stream.push('a b '), stream.push('c')].map((ids) => ids.length)).toEqual([0, 0])
    expect(String.fromCharCode(...stream.end())).toBe('a b c')
  })
})

test('the stream of a tokenizer gives the ids of the whole text, also of halves of characters', () => {
  const model = {
    type: 'BPE',
    vocab: Object.fromEntries(byteLevelCharacters.map((c, i) => [c, i])),
    merges: [],
  }
  const pre_tokenizer = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  const tokenizer = createTokenizer(
    JSON.stringify({ version: '1.0', added_tokens: [], model, pre_tokenizer }),
  )
  const long = 'so the sea 😀 '.repeat(30_000)
  const whole = Buffer.from(tokenizer.encode(long).buffer)
  const bytes = (parts: Uint32Array[]) =>
    Buffer.concat(parts.map((ids) => Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength)))
  fc.assert(
    fc.property(fc.array(fc.nat(long.length), { maxLength: 5 }), (places) => {
      const stream = tokenizer.encodeStream()
      const cuts = [0, ...places.sort((a, b) => a - b), long.length]
      const parts = cuts.slice(1).map((end, i) => stream.push(long.slice(cuts[i], end)))
      expect(bytes([...parts, stream.end()]).equals(whole)).toBe(true)
    }),
    { numRuns: 10 },
  )
  expect(bytes([tokenizer.encode(long, { addSpecialTokens: false })]).equals(whole)).toBe(true)
})
