import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { openLanguageModel } from '../models/load_model.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { AbortError, NumericalError, OptionError } from '../tensor/errors.ts'
import { currentKernels, dispose, logSoftmax, scope } from '../tensor/index.ts'
import type { GenerationEvent, GenerationRequest, TextGenerator } from './generation.ts'
import { createTextGenerator } from './text_generator.ts'

let open: OpenLanguageModel
beforeAll(() => {
  open = openLanguageModel(fileURLToPath(new URL('../../experiments/models/pare-4m', import.meta.url)))
})
afterAll(() => open.close())

const ids = (text: string) => open.tokenizer().encode(text)
const pause = () => new Promise((resolve) => setImmediate(resolve))
async function written(generator: TextGenerator, request: GenerationRequest, signal?: AbortSignal) {
  const events: GenerationEvent[] = []
  for await (const event of generator.generate(request, signal ? { signal } : {})) events.push(event)
  const tokens = events.flatMap((event) => (event.kind === 'token' ? [event] : []))
  const end = events.at(-1)
  if (end?.kind !== 'end') throw new Error('no end')
  const text = tokens.map((token) => token.text).join('') + end.text
  return {
    events,
    tokens: tokens.map(({ id }) => id),
    chances: tokens.map(({ chances }) => chances),
    text,
    end,
  }
}
/** Runs `body` with a generator, and sees that no tensor is left behind. */
async function withGenerator<T>(
  options: Parameters<typeof createTextGenerator>[1],
  body: (generator: TextGenerator) => Promise<T>,
): Promise<T> {
  const before = currentKernels().memory().tensors
  const generator = createTextGenerator(open, options)
  try {
    return await body(generator)
  } finally {
    await generator.close()
    expect(currentKernels().memory().tensors).toBe(before)
  }
}
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
    const { tokens, end } = await withGenerator({ rows }, (generator) =>
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
      alone.push(await withGenerator({ rows, pieceTokens: 8 }, (generator) => written(generator, request)))
    await withGenerator({ rows, pieceTokens: 8 }, async (generator) => {
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
  await withGenerator({}, async (generator) => {
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
  const { events, tokens, chances } = await withGenerator({ pieceTokens: 7 }, (generator) =>
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
  await withGenerator({ context: 20 }, async (generator) => {
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
  await withGenerator({ context: 24 }, async (generator) => {
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
  await withGenerator({}, async (generator) => {
    const prompt = ids('The whale')
    const { text, tokens } = await written(generator, { prompt, maxTokens: 60, seed: 4, temperature: 2 })
    const shown = { skipSpecialTokens: true }
    const whole = open.tokenizer().decode([...prompt, ...tokens], shown)
    expect(text).toBe(whole.slice(open.tokenizer().decode(prompt, shown).length))
  })
})
test('a stop text ends it, and is not shown though it runs over tokens', async () => {
  await withGenerator({}, async (generator) => {
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
  await withGenerator({}, async (generator) => {
    const [eos] = open.tokenizer().eosIds
    const request = { prompt: ids('The whale'), maxTokens: 4, logitBias: new Map([[eos!, 100]]) }
    const { events } = await written(generator, request)
    expect(events.slice(1)).toEqual([{ kind: 'end', text: '', reason: 'stop', tokens: 0 }])
    const { tokens, text } = await written(generator, { ...request, ignoreEnd: true })
    expect([tokens, text]).toEqual([[eos, eos, eos, eos], ''])
  })
})
test('penalties count what was written: a high one never writes a token twice', async () => {
  await withGenerator({}, async (generator) => {
    const request = { prompt: ids('The whale'), maxTokens: 40, temperature: 0, ignoreEnd: true }
    const [plain, penal] = [request, { ...request, repetitionPenalty: 1000 }].map((each) =>
      written(generator, each),
    )
    expect(new Set((await plain!).tokens).size).toBeLessThan(40)
    const { tokens } = await penal!
    expect(new Set([...tokens, ...request.prompt]).size).toBe(40 + new Set(request.prompt).size)
  })
})

describe('places', () => {
  test('texts wait for a place in the order in which they came', async () => {
    await withGenerator({ slots: 2 }, async (generator) => {
      const ended: number[] = []
      const all = Array.from({ length: 5 }, async (_, i) => {
        await written(generator, { prompt: ids('a'), maxTokens: 4, ignoreEnd: true })
        ended.push(i)
      })
      expect(generator.load()).toEqual({ running: 0, waiting: 5 })
      await pause()
      await pause()
      expect(generator.load()).toEqual({ running: 2, waiting: 3 })
      await Promise.all(all)
      expect(ended).toEqual([0, 1, 2, 3, 4])
      expect(generator.load()).toEqual({ running: 0, waiting: 0 })
    })
  })
  test('a text waits until the keys and values of all its tokens fit, and holds no more', async () => {
    const { layers, headSize } = open.model.config
    const tokenBytes = layers.reduce((sum, { kvHeads }) => sum + 8 * kvHeads * headSize, 0)
    // 40 tokens: a text of 1 + 30 and one of 1 + 8 fit, two of the first do not.
    await withGenerator({ cacheBytes: 40 * tokenBytes, slots: 4 }, async (generator) => {
      expect(generator.context).toBe(40)
      const before = currentKernels().memory()
      const first = [30, 30, 8].map((maxTokens) =>
        written(generator, { prompt: ids('a'), maxTokens, ignoreEnd: true }),
      )
      for (let i = 0; i < 4; i++) await pause()
      // The last one would fit, but does not overtake.
      expect(generator.load()).toEqual({ running: 1, waiting: 2 })
      await first[0]
      await pause()
      await pause()
      expect(generator.load()).toEqual({ running: 2, waiting: 0 })
      expect(currentKernels().memory().live - before.live).toBeLessThanOrEqual(40 * tokenBytes)
      await Promise.all(first)
    })
  })
  test('an abort, or leaving the loop, frees the place within one step, and the others go on', async () => {
    await withGenerator({ slots: 2 }, async (generator) => {
      const controller = new AbortController()
      const long = { prompt: ids('a'), ignoreEnd: true }
      const aborted = written(generator, long, controller.signal)
      const left = (async () => {
        for await (const event of generator.generate(long)) if (event.kind === 'token') break
      })()
      const next = [1, 2].map(() => written(generator, { ...long, maxTokens: 3 }))
      await left
      controller.abort()
      expect(generator.load()).toMatchObject({ running: 0 })
      await expect(aborted).rejects.toThrow(AbortError)
      await pause()
      await pause()
      expect(generator.load()).toEqual({ running: 2, waiting: 0 })
      for (const { end } of await Promise.all(next)) expect(end.tokens).toBe(3)
    })
  })
  test('an abort while it waits, or before it came, takes no place', async () => {
    await withGenerator({ slots: 1 }, async (generator) => {
      const first = written(generator, { prompt: ids('a'), maxTokens: 5, ignoreEnd: true })
      const controller = new AbortController()
      const second = written(generator, { prompt: ids('a') }, controller.signal)
      controller.abort()
      await expect(second).rejects.toThrow(AbortError)
      expect(generator.load().waiting).toBe(1)
      await expect(written(generator, { prompt: ids('a') }, AbortSignal.abort())).rejects.toThrow(AbortError)
      expect((await first).end.tokens).toBe(5)
    })
  })
  test('a reader that stands still holds its place and a few events, and does not stop the others', async () => {
    await withGenerator({ slots: 2 }, async (generator) => {
      const still = generator.generate({ prompt: ids('a'), maxTokens: 100, ignoreEnd: true, seed: 1 })
      const reader = still[Symbol.asyncIterator]()
      expect((await reader.next()).value).toMatchObject({ kind: 'prompt' })
      const run = vi.spyOn(open.model, 'embed')
      const { end } = await written(generator, { prompt: ids('a'), maxTokens: 60, ignoreEnd: true })
      expect(end.tokens).toBe(60)
      const rows = run.mock.calls.reduce((sum, [all]) => sum + all.filter((id) => id !== 0).length, 0)
      run.mockRestore()
      // 1 of the prompt and 59 that ran, and the few of the one that stands still.
      expect(rows).toBeLessThan(60 + 20)
      let rest = 0
      for (let next = await reader.next(); !next.done; next = await reader.next()) rest++
      expect(rest).toBe(101)
    })
  })
  test('a long prompt is read in pieces beside which others go on', async () => {
    await withGenerator({ pieceTokens: 16 }, async (generator) => {
      const order: string[] = []
      const note = async (name: string, request: GenerationRequest) => {
        for await (const { kind } of generator.generate({ ignoreEnd: true, ...request }))
          order.push(`${name} ${kind}`)
      }
      const long = ids('the whale '.repeat(200)).subarray(0, 200)
      await Promise.all([
        note('long', { prompt: long, maxTokens: 1 }),
        note('short', { prompt: ids('a'), maxTokens: 6 }),
      ])
      expect(order.indexOf('short end')).toBeLessThan(order.indexOf('long prompt'))
    })
  })
})

describe('faults', () => {
  test('one that belongs to a single text ends that text alone, and the others keep their bits', async () => {
    const alone = await withGenerator({}, (generator) => written(generator, requests({ logprobs: 1 })[1]!))
    await withGenerator({}, async (generator) => {
      const embed = open.model.embed.bind(open.model)
      const poison = ids('z')[0]!
      vi.spyOn(open.model, 'embed').mockImplementation((all) => {
        if (all.includes(poison)) throw new NumericalError('row: is damaged')
        return embed(all)
      })
      const [bad, good] = [{ prompt: Uint32Array.of(poison) }, requests({ logprobs: 1 })[1]!].map((request) =>
        written(generator, request),
      )
      await expect(bad).rejects.toThrow(/row: is damaged/)
      expect(await good).toEqual(alone)
      vi.restoreAllMocks()
    })
  })
  test('no token that could come ends one text with a typed error', async () => {
    await withGenerator({}, async (generator) => {
      const all = new Map(Array.from({ length: open.model.config.vocabulary }, (_, id) => [id, -100]))
      const bad = written(generator, { prompt: ids('a'), logitBias: all })
      const good = written(generator, { prompt: ids('a'), maxTokens: 3, ignoreEnd: true })
      await expect(bad).rejects.toThrow(expect.objectContaining({ code: 'PARE_E_NO_TOKEN' }))
      expect((await good).end.tokens).toBe(3)
    })
  })
  test.each([
    [{ prompt: new Uint32Array(0) }, 'prompt'],
    [{ prompt: [1, 2] as unknown as Uint32Array }, 'prompt'],
    [{ prompt: Uint32Array.of(2048) }, 'prompt'],
    [{ prompt: new Uint32Array(257) }, 'prompt'],
    [{ maxTokens: -1 }, 'maxTokens'],
    [{ maxTokens: 1.5 }, 'maxTokens'],
    [{ logprobs: 21 }, 'logprobs'],
    [{ stop: [''] }, 'stop'],
    [{ stop: 'text' as unknown as string[] }, 'stop'],
    [{ topP: 0 }, 'topP'],
  ])('%o is refused by name', async (request, option) => {
    await withGenerator({}, async (generator) => {
      const refused = written(generator, { prompt: Uint32Array.of(1), ...request })
      await expect(refused).rejects.toThrow(OptionError)
      await expect(refused).rejects.toThrow(expect.objectContaining({ facts: { option } }))
      expect(generator.load()).toEqual({ running: 0, waiting: 0 })
    })
  })
  test.each([
    { slots: 0 },
    { pieceTokens: 0 },
    { context: 257 },
    { cacheBytes: 10 },
    { cacheBytes: 200_000, context: 100 },
    { rows: 'beside' as 'apart' },
    { dtype: 'f16' as 'f32' },
  ])('a generator with %o is refused before weights are loaded', (options) => {
    const before = currentKernels().memory().tensors
    expect(() => createTextGenerator(open, options)).toThrow(
      expect.objectContaining({ code: 'PARE_E_GENERATOR' }),
    )
    expect(currentKernels().memory().tensors).toBe(before)
  })
})
test('close ends all texts, those that wait too, and a later one is refused', async () => {
  const before = currentKernels().memory().tensors
  const generator = createTextGenerator(open, { slots: 1 })
  const all = [1, 2].map(() => written(generator, { prompt: ids('a'), ignoreEnd: true }))
  await pause()
  await pause()
  const both = Promise.allSettled(all)
  await generator.close()
  await generator.close()
  for (const { status, ...rest } of await both) {
    expect([status, rest]).toEqual(['rejected', { reason: expect.any(AbortError) }])
  }
  await expect(written(generator, { prompt: ids('a') })).rejects.toThrow(AbortError)
  expect(currentKernels().memory().tensors).toBe(before)
})
test('the thread is free between steps', async () => {
  await withGenerator({}, async (generator) => {
    let ticks = 0
    const timer = setInterval(() => ticks++, 0)
    await written(generator, { prompt: ids('a'), maxTokens: 40, ignoreEnd: true })
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(10)
  })
})
test('bf16 weights write with half the memory', async () => {
  await withGenerator({ dtype: 'bf16' }, async (generator) => {
    const { end } = await written(generator, { prompt: ids('The '), maxTokens: 4, ignoreEnd: true })
    expect(end.tokens).toBe(4)
  })
})
