import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { dispose, logSoftmax, scope } from '../tensor/index.ts'
import type { GenerationRequest } from './generation.ts'
import { openSmall, withGenerator, written } from './small_generator.suite.ts'

let open: OpenLanguageModel
beforeAll(() => {
  open = openSmall()
})
afterAll(() => open.close())

const ids = (text: string) => open.tokenizer().encode(text)
/** Log-probabilities behind every id, from one forward without a cache. */
function scoresOf(read: Uint32Array): Float32Array[] {
  return scope(() => {
    const scores = logSoftmax(open.model.load().forward(read))
    return Array.from(read, (_, i) => scores.select(0, i).toArray() as Float32Array)
  })
}
const best = (scores: Float32Array) => scores.indexOf(scores.reduce((a, b) => Math.max(a, b)))
/** Greedy text by reading everything again for every token. */
function slowly(prompt: Uint32Array, length: number): number[] {
  const resident = scope(() => open.model.load())
  const all = [...prompt]
  while (all.length < prompt.length + length) {
    const { argmax } = scope(() => {
      const logits = resident.forward(Uint32Array.from(all))
      return { argmax: best(logits.select(0, all.length - 1).toArray() as Float32Array) }
    })
    all.push(argmax)
  }
  dispose(resident)
  return all.slice(prompt.length)
}
const prompts = [
  'The ',
  'In the year of our Lord the whale',
  'My fellow citizens',
  'a',
  'There she blows! '.repeat(8),
]
const requests = (options: Partial<GenerationRequest> = {}): GenerationRequest[] =>
  prompts.map((text, i) => ({ prompt: ids(text), maxTokens: 12 + i, seed: i, ignoreEnd: true, ...options }))

describe.each(['together', 'apart'] as const)('rows %s', (rows) => {
  test('temperature 0 takes the argmax of forwards over the whole text without a cache', async () => {
    const prompt = ids('The whale')
    const { tokens, end } = await withGenerator(open, { rows }, (generator) =>
      written(generator, { prompt, maxTokens: 16, temperature: 0, ignoreEnd: true }),
    )
    expect(tokens).toEqual(slowly(prompt, 16))
    expect(end).toMatchObject({ reason: 'length', tokens: 16 })
  })
  test('five texts at once are, to the last bit of a chance, what each is alone', async () => {
    const options = {
      temperature: 0.9,
      topP: 0.95,
      repetitionPenalty: 1.1,
      logprobs: 3,
      promptLogprobs: true,
    }
    const alone: unknown[] = []
    for (const request of requests(options))
      alone.push(
        await withGenerator(open, { rows, pieceTokens: 8 }, (generator) => written(generator, request)),
      )
    await withGenerator(open, { rows, pieceTokens: 8 }, async (generator) => {
      const all = requests(options).map((request) => written(generator, request))
      expect(await Promise.all(all)).toEqual(alone)
      // Later, and beside others.
      const again = requests(options)
        .slice(2, 4)
        .map((request) => written(generator, request))
      expect(await Promise.all(again)).toEqual(alone.slice(2, 4))
    })
  })
})

test('another seed writes another text, and none at all one of chance', async () => {
  await withGenerator(open, {}, async (generator) => {
    const prompt = ids('The ')
    const tokensOf = async (seed?: number) =>
      (await written(generator, { prompt, maxTokens: 20, ...(seed === undefined ? {} : { seed }) })).tokens
    const [one, same, other, free, open] = await Promise.all([1, 1, 2, undefined, undefined].map(tokensOf))
    expect(same).toEqual(one)
    expect(new Set([one, other, free, open].map(String)).size).toBe(4)
  })
})
test('chances of the prompt are the log-softmax of one forward over it, those of new tokens too', async () => {
  const [prompt] = [ids('In the year of our Lord the whale was seen again by the men of the ship')]
  const { events, tokens, chances } = await withGenerator(open, { pieceTokens: 7 }, (generator) =>
    written(generator, {
      prompt,
      maxTokens: 5,
      logprobs: 2,
      promptLogprobs: true,
      temperature: 0,
      ignoreEnd: true,
    }),
  )
  const all = Uint32Array.from([...prompt, ...tokens])
  const scores = scoresOf(all)
  const [first] = events
  if (first?.kind !== 'prompt') throw new Error('no prompt')
  expect(first.tokens).toBe(prompt.length)
  expect(first.chances).toHaveLength(prompt.length - 1)
  for (const [i, found] of [...first.chances!, ...chances].entries()) {
    const row = scores[i]!
    expect(found!.id).toBe(all[i + 1])
    // f32 log-probabilities of about 10, after sums in another order.
    expect(found!.logprob).toBeCloseTo(row[all[i + 1]!]!, 4)
    expect(found!.top[0]!.id).toBe(best(row))
    expect(found!.top).toHaveLength(2)
  }
})
test('a prompt alone is read where no tokens are asked for, also one that fills the context', async () => {
  await withGenerator(open, { context: 20 }, async (generator) => {
    const prompt = ids('the whale '.repeat(20)).subarray(0, 20)
    const { events } = await written(generator, { prompt, maxTokens: 0, promptLogprobs: true })
    expect(events).toEqual([
      { kind: 'prompt', tokens: 20, chances: expect.any(Array) },
      { kind: 'end', text: '', reason: 'length', tokens: 0 },
    ])
    await expect(written(generator, { prompt })).rejects.toThrow(/20 tokens leave no room in a context of 20/)
  })
})
test('the text ends at the end of the context, of which the prompt is a part', async () => {
  await withGenerator(open, { context: 24 }, async (generator) => {
    expect(generator.context).toBe(24)
    const prompt = ids('The whale')
    for (const more of [{}, { maxTokens: 100 }]) {
      const { tokens, end } = await written(generator, { prompt, ignoreEnd: true, ...more })
      expect(tokens.length + prompt.length).toBe(24)
      expect(end).toMatchObject({ reason: 'length', tokens: tokens.length })
    }
  })
})
test('the pieces of text together are what the tokenizer makes of the ids', async () => {
  await withGenerator(open, {}, async (generator) => {
    const prompt = ids('The whale')
    const { text, tokens } = await written(generator, { prompt, maxTokens: 60, seed: 4, temperature: 2 })
    const shown = { skipSpecialTokens: true }
    const whole = open.tokenizer().decode([...prompt, ...tokens], shown)
    expect(text).toBe(whole.slice(open.tokenizer().decode(prompt, shown).length))
  })
})
test('a stop text ends it, and is not shown though it runs over tokens', async () => {
  await withGenerator(open, {}, async (generator) => {
    const request = { prompt: ids('The whale'), maxTokens: 40, temperature: 0, ignoreEnd: true }
    const { text, tokens } = await written(generator, request)
    for (const start of [3, 17, 40]) {
      const stopText = text.slice(start, start + 9)
      const found = await written(generator, { ...request, stop: ['no such text', stopText] })
      expect(found.text).toBe(text.slice(0, text.indexOf(stopText)))
      expect(found.end).toMatchObject({ kind: 'end', reason: 'stop', stopText, tokens: found.tokens.length })
      expect(found.tokens).toEqual(tokens.slice(0, found.tokens.length))
      expect(found.tokens.length).toBeLessThan(40)
    }
    const unmet = await written(generator, { ...request, stop: [`${text}and more`] })
    expect([unmet.text, unmet.end.reason]).toEqual([text, 'length'])
    expect(unmet.events.slice(0, -1).every((event) => event.kind !== 'token' || event.text === '')).toBe(true)
  })
})
test('an id that ends a text is no part of it, unless the end is ignored', async () => {
  await withGenerator(open, {}, async (generator) => {
    const [eos] = open.tokenizer().eosIds
    const request = { prompt: ids('The whale'), maxTokens: 4, logitBias: new Map([[eos!, 100]]) }
    const { events } = await written(generator, request)
    expect(events.slice(1)).toEqual([{ kind: 'end', text: '', reason: 'stop', tokens: 0 }])
    const { tokens, text } = await written(generator, { ...request, ignoreEnd: true })
    expect([tokens, text]).toEqual([[eos, eos, eos, eos], ''])
  })
})
test('penalties count what was written: a high one never writes a token twice', async () => {
  await withGenerator(open, {}, async (generator) => {
    const request = { prompt: ids('The whale'), maxTokens: 40, temperature: 0, ignoreEnd: true }
    const [plain, penal] = [request, { ...request, repetitionPenalty: 1000 }].map((each) =>
      written(generator, each),
    )
    expect(new Set((await plain!).tokens).size).toBeLessThan(40)
    const { tokens } = await penal!
    expect(new Set([...tokens, ...request.prompt]).size).toBe(40 + new Set(request.prompt).size)
  })
})

test('bf16 weights write with half the memory', async () => {
  await withGenerator(open, { dtype: 'bf16' }, async (generator) => {
    const { end } = await written(generator, { prompt: ids('The '), maxTokens: 4, ignoreEnd: true })
    expect(end.tokens).toBe(4)
  })
})
