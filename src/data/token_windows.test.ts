import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { byteLevelCharacters } from '../formats/tokenizer/token_bytes.ts'
import { createTokenizer } from '../formats/tokenizer/tokenizer.ts'
import { createLoader } from '../optim/loader.ts'
import { OptionError } from '../tensor/errors.ts'
import { randomStream } from '../tensor/index.ts'
import { packTokens, tokenWindows } from './token_windows.ts'

/** Bytes as ids from 1 on, and <end> as id 0. */
const end = { id: 0, content: '<end>', special: true }
const tokenizer = createTokenizer(
  JSON.stringify({
    version: '1.0',
    added_tokens: [{ ...end, single_word: false, lstrip: false, rstrip: false, normalized: false }],
    model: {
      type: 'BPE',
      vocab: { '<end>': 0, ...Object.fromEntries(byteLevelCharacters.map((c, i) => [c, i + 1])) },
      merges: [],
    },
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
  }),
  (idOf) => ({ eosIds: [idOf('<end>')!] }),
)
const random = randomStream(0, 'unused')
const rows = (values: ArrayLike<number | bigint>, length: number) => {
  const list = Array.from(values, Number)
  return Array.from({ length: list.length / length }, (_, i) => list.slice(i * length, (i + 1) * length))
}
const a = 'a'.charCodeAt(0) + 1

describe('documents', () => {
  test('become one stream with the end-of-text token between them', () => {
    expect([...packTokens(['ab', '', 'c'], tokenizer)]).toEqual([a, a + 1, 0, a + 2])
    expect([...packTokens(['a', 'c'], tokenizer, { endOfText: 7 })]).toEqual([a, 7, a + 2])
  })
  test('without text, or a tokenizer without an end of text, are refused', () => {
    for (const texts of [[], ['', '']]) expect(() => packTokens(texts, tokenizer)).toThrow(/text is empty/)
    expect(() => packTokens(['a'], tokenizer, { endOfText: 999 })).toThrow(/endOfText.*got 999/)
  })
  test('give the tokens that each has alone, however long', () => {
    const long = 'so the sea 🐋 '.repeat(5000)
    const alone = tokenizer.encode(long)
    const packed = packTokens([long, long], tokenizer)
    expect(packed.length).toBe(2 * alone.length + 1)
    expect(Buffer.from(packed.slice(alone.length + 1).buffer).equals(Buffer.from(alone.buffer))).toBe(true)
  })
})

describe('windows', () => {
  test('labels are the inputs shifted by one, and every token but the first is a label once', () => {
    fc.assert(
      fc.property(
        fc.uint32Array({ minLength: 2, maxLength: 60 }),
        fc.integer({ min: 1, max: 9 }),
        (tokens, length) => {
          fc.pre(tokens.length > length)
          const windows = tokenWindows(tokens, { length })
          const ids = Uint32Array.from({ length: windows.count }, (_, i) => i)
          const batch = windows.batch(ids, random)
          expect(batch.inputs.shape).toEqual([windows.count, length])
          const inputs = rows(batch.inputs.toArray(), length)
          const labels = rows(batch.labels.toArray(), length)
          for (const [row, input] of inputs.entries()) {
            const last = labels[row]!.at(-1)!
            expect(labels[row]).toEqual([...input.slice(1), last])
            expect([...input, last]).toEqual([...tokens.slice(row * length, (row + 1) * length + 1)])
          }
          expect(labels.flat()).toEqual([...tokens.slice(1, 1 + windows.count * length)])
          expect(tokens.length - 1 - windows.count * length).toBeLessThan(length)
        },
      ),
      { numRuns: 50 },
    )
  })
  test('keep their ids in every order of a loader', () => {
    const tokens = Uint32Array.from({ length: 41 }, (_, i) => i)
    const loader = createLoader(tokenWindows(tokens, { length: 4 }), { batch: 3, dropLast: false, epochs: 1 })
    const seen: number[] = []
    for (let batch = loader.next(); batch; batch = loader.next()) {
      expect(rows(batch.inputs.toArray(), 4).map(([first]) => first)).toEqual(
        Array.from(batch.ids, (id) => 4 * id),
      )
      seen.push(...batch.ids)
    }
    expect(seen.sort((x, y) => x - y)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })
  test('need a text that is longer than one, and say how much there is', () => {
    for (const tokens of [new Uint32Array(0), Uint32Array.of(1), new Uint32Array(8)])
      expect(() => tokenWindows(tokens, { length: 8 })).toThrow(
        new RegExp(`needs 9 tokens, the text has ${tokens.length}`),
      )
    expect(tokenWindows(new Uint32Array(9), { length: 8 }).count).toBe(1)
    expect(() => tokenWindows(new Uint32Array(9), { length: 0 })).toThrow(OptionError)
  })
  test('of other tokens or another length have another fingerprint', () => {
    const prints = [
      tokenWindows(Uint32Array.of(1, 2, 3), { length: 2 }),
      tokenWindows(Uint32Array.of(1, 2, 4), { length: 2 }),
      tokenWindows(Uint32Array.of(1, 2, 3), { length: 1 }),
    ].map(({ fingerprint }) => fingerprint)
    expect(new Set(prints).size).toBe(3)
  })
})
