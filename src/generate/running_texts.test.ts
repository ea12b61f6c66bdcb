import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { GrowingCache } from '../models/key_value_cache.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { AbortError, NumericalError, OptionError, ResourceError } from '../tensor/errors.ts'
import { currentKernels } from '../tensor/index.ts'
import type { GenerationEvent, GenerationRequest, TextGenerator } from './generation.ts'
import { openSmall, withGenerator, written } from './small_generator.suite.ts'
import { createTextGenerator } from './text_generator.ts'

let open: OpenLanguageModel
beforeAll(() => {
  open = openSmall()
})
afterAll(() => open.close())

const ids = (text: string) => open.tokenizer().encode(text)
const pause = () => new Promise((resolve) => setImmediate(resolve))
async function restOf(reader: AsyncIterator<GenerationEvent>): Promise<GenerationEvent[]> {
  const events: GenerationEvent[] = []
  for (let next = await reader.next(); !next.done; next = await reader.next()) events.push(next.value)
  return events
}

describe('places', () => {
  test('texts wait for a place in the order in which they came', async () => {
    await withGenerator(open, { slots: 2 }, async (generator) => {
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
    await withGenerator(open, { cacheBytes: 40 * tokenBytes, slots: 4 }, async (generator) => {
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
    await withGenerator(open, { slots: 2 }, async (generator) => {
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
    await withGenerator(open, { slots: 1 }, async (generator) => {
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
  test('readers that stand still hold a few events and no place, and go on with the same text', async () => {
    const requests = [1, 2].map((seed) => ({ prompt: ids('a'), maxTokens: 100, ignoreEnd: true, seed }))
    const alone = await withGenerator(open, {}, (generator) =>
      Promise.all(requests.map((request) => written(generator, request))),
    )
    await withGenerator(open, { slots: 2 }, async (generator) => {
      const readers = requests.map((request) => generator.generate(request)[Symbol.asyncIterator]())
      for (const reader of readers) expect((await reader.next()).value).toMatchObject({ kind: 'prompt' })
      const run = vi.spyOn(open.model, 'embed')
      const others = [3, 4, 5].map((seed) =>
        written(generator, { prompt: ids('a'), maxTokens: 60, ignoreEnd: true, seed }),
      )
      for (const { end } of await Promise.all(others)) expect(end.tokens).toBe(60)
      const rows = run.mock.calls.reduce((sum, [all]) => sum + all.filter((id) => id !== 0).length, 0)
      run.mockRestore()
      // 1 of the prompt and 59 that ran, of each, and the few of those that stand still.
      expect(rows).toBeLessThan(3 * 60 + 2 * 20)
      const texts = await Promise.all(readers.map(restOf))
      expect(texts).toEqual(alone.map(({ events }) => events.slice(1)))
    })
  })
  test('texts whose readers have caught up run no more at once than there are places', async () => {
    await withGenerator(open, { slots: 2 }, async (generator) => {
      const texts = Array.from({ length: 5 }, (_, seed) =>
        generator
          .generate({ prompt: ids('a'), maxTokens: 60, ignoreEnd: true, seed })
          [Symbol.asyncIterator](),
      )
      for (const text of texts) await text.next()
      for (let i = 0; i < 30; i++) await pause()
      expect(generator.load()).toEqual({ running: 5, waiting: 0 })
      const run = vi.spyOn(open.model, 'embed')
      for (const rest of await Promise.all(texts.map(restOf))) expect(rest).toHaveLength(61)
      // Rows are filled up to 4 with zeros.
      const most = Math.max(...run.mock.calls.map(([all]) => all.filter((id) => id !== 0).length))
      run.mockRestore()
      expect(most).toBe(2)
    })
  })
  test('a long prompt is read in pieces beside which others go on', async () => {
    await withGenerator(open, { pieceTokens: 16 }, async (generator) => {
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
    const request = { prompt: ids('the whale'), maxTokens: 8, seed: 3, logprobs: 1 }
    const alone = await withGenerator(open, {}, (generator) => written(generator, request))
    await withGenerator(open, {}, async (generator) => {
      const embed = open.model.embed.bind(open.model)
      const poison = ids('z')[0]!
      vi.spyOn(open.model, 'embed').mockImplementation((all) => {
        if (all.includes(poison)) throw new NumericalError('row: is damaged')
        return embed(all)
      })
      const [bad, good] = [{ prompt: Uint32Array.of(poison) }, request].map((request) =>
        written(generator, request),
      )
      await expect(bad).rejects.toThrow(/row: is damaged/)
      expect(await good).toEqual(alone)
      vi.restoreAllMocks()
    })
  })
  test('a step that fails half way, and not again, changes nothing', async () => {
    const requests = [4, 5].map((seed) => ({ prompt: ids('the whale'), maxTokens: 6, seed, logprobs: 1 }))
    const all = (generator: TextGenerator) => Promise.all(requests.map((each) => written(generator, each)))
    const plain = await withGenerator(open, {}, all)
    const append = GrowingCache.prototype.append
    let calls = 0
    const spy = vi.spyOn(GrowingCache.prototype, 'append').mockImplementation(function (
      this: GrowingCache,
      ...args
    ) {
      // Two texts and six blocks: in the third step, in the fourth block, for the second text.
      if (++calls === 2 * 12 + 8) throw new ResourceError('memory: is full')
      return append.apply(this, args)
    })
    expect(await withGenerator(open, {}, all)).toEqual(plain)
    expect(calls).toBeGreaterThan(2 * 12 + 8)
    spy.mockRestore()
  })
  test('no token that could come ends one text with a typed error', async () => {
    await withGenerator(open, {}, async (generator) => {
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
    await withGenerator(open, {}, async (generator) => {
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
  await withGenerator(open, {}, async (generator) => {
    let ticks = 0
    const timer = setInterval(() => ticks++, 0)
    await written(generator, { prompt: ids('a'), maxTokens: 40, ignoreEnd: true })
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(10)
  })
})
