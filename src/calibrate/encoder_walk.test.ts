import { describe, expect, test } from 'vitest'
import { encoders, expectedOf, openEncoder, withEncoder } from '../models/bert/fixtures.suite.ts'
import { distance, numbers } from '../models/llama/fixtures.suite.ts'
import { scope } from '../tensor/index.ts'
import { drawFramedSamples, encoderWalk } from './encoder_walk.ts'
import { walk } from './walk.ts'

describe.each(encoders)('%s', (name) => {
  const { texts, ids, hidden } = expectedOf(name)
  test('a walk that changes nothing ends with the states of the float64 oracle', async () => {
    const open = openEncoder(name)
    try {
      const samples = ids.toSorted((a, b) => a.length - b.length)
      const found: number[][] = []
      await walk({
        model: encoderWalk(open.model),
        samples,
        // One sample a batch, so that the order is that of the samples.
        batchTokens: 1,
        visitor: {},
        between: (next, { current }) => {
          if (next < open.model.stages.length) return
          scope(() => {
            for (const i of samples.keys()) found.push(numbers(current.read(i, 'hidden')))
          })
        },
      })
      expect(found).toHaveLength(texts.length)
      for (const [i, states] of found.entries())
        expect(distance(states, hidden[ids.indexOf(samples[i]!)]!)).toBeLessThan(1e-5)
    } finally {
      open.close()
    }
  })
  test('the rows of words give the states of the whole table, several sequences at once', () => {
    withEncoder(name, ({ embedding }, { model }) => {
      const batch = { ids: Uint32Array.of(5, 9, 5, 60, 1, 2), count: 2, tokens: 3, lengths: [3, 3] }
      const found = model.embed(batch.ids, batch.tokens)
      expect(found.shape).toEqual([2, 3, model.config.hidden])
      expect(numbers(found)).toEqual(numbers(embedding.forward(batch)))
    })
  })
  test('what is observed has one row for each token of the samples', async () => {
    const open = openEncoder(name)
    try {
      const rows = new Map<string, number>()
      await walk({
        model: encoderWalk(open.model),
        samples: [Uint32Array.of(2, 7, 3), Uint32Array.of(2, 8, 3), Uint32Array.of(2, 3)],
        visitor: {
          observe(linears, x) {
            for (const { name } of linears) rows.set(name, (rows.get(name) ?? 0) + x.size / x.extent(-1))
          },
        },
      })
      expect([...rows.keys()]).toEqual(open.model.stages.flatMap(({ weights }) => weights))
      expect(new Set(rows.values())).toEqual(new Set([8]))
    } finally {
      open.close()
    }
  })
})

describe('samples', () => {
  const open = openEncoder('bert-sentence')
  const tokenizer = open.tokenizer()
  const tokens = Uint32Array.from({ length: 20 }, (_, i) => 10 + i)
  const framed = tokenizer.encode('a')
  test('have the special tokens of the model around parts of the text that do not overlap', () => {
    const { samples } = drawFramedSamples(tokens, tokenizer, { samples: 9, length: 7 })
    expect(samples.map(({ length }) => length)).toEqual([7, 7, 7, 7])
    for (const sample of samples) expect([sample[0], sample[6]]).toEqual([framed[0], framed.at(-1)])
    const inner = samples.flatMap((sample) => [...sample.slice(1, -1)])
    expect(inner.sort((a, b) => a - b)).toEqual([...tokens])
  })
  test('without room for a token are refused', () => {
    expect(() => drawFramedSamples(tokens, tokenizer, { length: 2 })).toThrow(/--length: needs 3 at least/)
  })
  test('longer than the text are refused', () => {
    expect(() => drawFramedSamples(tokens, tokenizer, { length: 64 })).toThrow(/needs 62 tokens/)
  })
})
