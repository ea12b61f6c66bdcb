import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AbortError, OptionError } from '../../tensor/errors.ts'
import { createTokenizer } from './tokenizer.ts'
import { trainByteLevelBpe } from './train_byte_level_bpe.ts'

const text = readFileSync(new URL('../../calibrate/text/calibration.txt', import.meta.url), 'utf8')
const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex')
const paragraphs = text.split('\n\n')

describe('a tokenizer made from texts', () => {
  const json = trainByteLevelBpe(paragraphs, { vocabulary: 1024 })
  const tokenizer = createTokenizer(json, (idOf) => ({ eosIds: [idOf('<|endoftext|>')!] }))

  test('has the special tokens first, then the bytes, then what is frequent', () => {
    expect(tokenizer.vocabularySize).toBe(1024)
    expect([tokenizer.token(0), tokenizer.isSpecial(0), tokenizer.eosIds]).toEqual([
      '<|endoftext|>',
      true,
      [0],
    ])
    expect(tokenizer.encode(' the', { addSpecialTokens: false }).length).toBe(1)
    expect([...tokenizer.encode('a<|endoftext|>b')].indexOf(0)).toBe(1)
  })
  test('has the merges and gives the ids of tokenizers 0.22.2 in Python for the same texts', () => {
    const { merges } = JSON.parse(json).model as { merges: [string, string][] }
    expect(merges.length).toBe(767)
    expect(sha256(merges.map((pair) => pair.join(' ')).join('\n'))).toBe(
      'dd3de66cff816f5c02e147ea4861e20473eaba6e25794946641121e8c255452e',
    )
    const ids = tokenizer.encode(text)
    expect(ids.length).toBe(34606)
    expect(sha256(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength))).toBe(
      'b44ea965062199216b01e30098a606f40f84c1f6c04016ab57a9fea60eab2538',
    )
    expect([...tokenizer.encode("It's the sea, 12 ships\n\n and 🐋<|endoftext|>")]).toEqual([
      41, 84, 471, 260, 379, 65, 12, 541, 18, 593, 73, 80, 83, 199, 199, 279, 221, 173, 254, 239, 234, 0,
    ])
  })
  test('gives every text back, also bytes that it has not seen', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), (any) => {
        expect(tokenizer.decode(tokenizer.encode(any))).toBe(any)
      }),
      { numRuns: 100 },
    )
  })
  test('needs less than half as many tokens as bytes for its text', () => {
    expect(tokenizer.encode(text).length).toBeLessThan(Buffer.byteLength(text) / 2)
  })
  test('is the same file for the same texts, also in another order', () => {
    expect(trainByteLevelBpe(paragraphs.toReversed(), { vocabulary: 1024 })).toBe(json)
    expect(trainByteLevelBpe(paragraphs, { vocabulary: 1024 })).toBe(json)
  })
  test('merges the most frequent pair first, as counting by hand finds', () => {
    const counts = new Map<string, number>()
    for (const [word] of text.replaceAll('\n\n', '\u0000').matchAll(/ ?\p{L}+/gu))
      for (let i = 1; i < word.length; i++) {
        const pair = word.slice(i - 1, i + 1)
        counts.set(pair, (counts.get(pair) ?? 0) + 1)
      }
    const [most] = [...counts].sort(([, a], [, b]) => b - a)[0]!
    expect(tokenizer.tokenText(257)).toBe(most)
  })
})

describe('what cannot be trained is refused', () => {
  const refuse = (texts: string[], options: Parameters<typeof trainByteLevelBpe>[1], message: RegExp) => {
    expect(() => trainByteLevelBpe(texts, options)).toThrow(OptionError)
    expect(() => trainByteLevelBpe(texts, options)).toThrow(message)
  }
  test('empty texts and those with too few pairs', () => {
    for (const texts of [[], ['', '']]) refuse(texts, { vocabulary: 300 }, /texts are empty/)
    refuse(['ab'], { vocabulary: 300 }, /gives only 257 tokens; give more or other text, or a smaller/)
    expect(createTokenizer(trainByteLevelBpe(['a'], { vocabulary: 257 })).vocabularySize).toBe(257)
  })
  test('vocabularies below the bytes or without end, and special tokens that cannot be', () => {
    for (const vocabulary of [0, 256, 257.5, 2 ** 18 + 1, Number.NaN])
      refuse([text], { vocabulary }, /vocabulary: a whole number from 257/)
    refuse([text], { vocabulary: 300, special: ['<a>', '<a>'] }, /may stand once/)
    for (const token of ['', 'x', 'a b', '\ud800x', 'x'.repeat(65)])
      refuse([text], { vocabulary: 300, special: [token] }, /2 to 64 characters without blanks/)
    refuse([text], { vocabulary: 1024, special: ['the'] }, /"the" is also a word/)
  })
  test('a stopped training ends in AbortError, between two texts', () => {
    const controller = new AbortController()
    let given = 0
    function* texts() {
      for (;;) {
        given++
        if (given === 3) controller.abort()
        yield 'the sea'
      }
    }
    expect(() => trainByteLevelBpe(texts(), { vocabulary: 300, signal: controller.signal })).toThrow(
      AbortError,
    )
    expect(given).toBe(3)
  })
  test('a run of white space that the rule of words cannot take, with the number of its text', () => {
    refuse(['a', `a${' '.repeat(600_000)}b`], { vocabulary: 300 }, /text 1: a run of white space/)
  })
})
