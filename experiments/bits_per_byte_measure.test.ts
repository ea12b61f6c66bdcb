import { expect, test } from 'vitest'
import { randomStream } from '../src/tensor/index.ts'
import { gzipBits, ngramBits, overlapping, xzBits } from './bits_per_byte_measure.ts'
import { ngramModel } from './kneser_ney.ts'

test('every token of every document is scored once, with half a context before it or its whole document', () => {
  const documents = [0, 1, 2, 5, 7, 8, 9, 15, 16, 23, 24, 25, 100].map((length, d) =>
    Uint32Array.from({ length }, (_, i) => 1000 * (d + 1) + i),
  )
  const scored: number[] = []
  for (const { windows, firstScored } of overlapping(documents, { endOfText: 7, context: 8 }))
    for (const window of windows) {
      expect(window.length).toBeLessThanOrEqual(8)
      scored.push(...window.slice(firstScored + 1))
      // What is not the beginning of a document has three tokens or more before the first that counts.
      if (window[0] !== 7) expect(firstScored).toBe(3)
    }
  expect(scored.sort((x, y) => x - y)).toEqual(
    documents.flatMap((tokens) => [...tokens]).sort((x, y) => x - y),
  )
})

test('the bits of an n-gram model are those of its probabilities, by hand', () => {
  // As in kneser_ney.test.ts: after a, b has 1/2 and c 1/3.
  const model = ngramModel(Uint32Array.of(0, 1, 0, 1, 0, 2), { order: 2, vocabulary: 3 })
  expect(ngramBits(model, [Uint32Array.of(1), Uint32Array.of(2)], 0)).toBeCloseTo(
    Math.log2(2) + Math.log2(3),
    12,
  )
})

test('gzip and xz: random letters take a little more than log2(26) bits, a text that stands before takes next to none with xz', () => {
  const random = randomStream(1, 'letters').bits([4000]).toArray() as Uint32Array
  const text = Array.from(random, (word) => String.fromCharCode(97 + (word % 26))).join('')
  for (const bits of [gzipBits(text), xzBits(text)]) {
    expect(bits).toBeGreaterThan(4000 * Math.log2(26))
    expect(bits).toBeLessThan(1.15 * 4000 * Math.log2(26))
  }
  const far = text + 'x'.repeat(100_000)
  expect(gzipBits(far + text) - gzipBits(far)).toBeGreaterThan(0.9 * gzipBits(text))
  expect(xzBits(far + text) - xzBits(far)).toBeLessThan(0.1 * xzBits(text))
})
