import { MessageChannel, Worker } from 'node:worker_threads'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { AbortError, NativeError, OptionError } from '../tensor/errors.ts'
import type { GenerationEvent, TextGenerator } from './generation.ts'
import { answerGenerator, EVENTS_AHEAD } from './generator_port.ts'
import { type GeneratorThread, generatorThread } from './generator_thread.ts'
import { type Script, scriptedGenerator } from './scripted_generator.suite.ts'

/** Other work may keep this process from running. */
const patient = { timeout: 20_000 }

const letters = () => ({ push: (id: number) => String.fromCharCode(id), end: () => '' })
const ids = (text: string) => Uint32Array.from(text, (c) => c.charCodeAt(0))
const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

/** A scripted generator behind a channel, in this thread. */
function behindChannel(script: Partial<Script> = {}) {
  const inner = scriptedGenerator({ stream: letters, ...script })
  const { port1, port2 } = new MessageChannel()
  ends.push(() => port1.close())
  answerGenerator(port2, inner)
  return { inner, outer: generatorThread(port1, inner.context) }
}
async function all(events: AsyncIterable<GenerationEvent>): Promise<GenerationEvent[]> {
  const list: GenerationEvent[] = []
  for await (const event of events) list.push(event)
  return list
}
const textOf = (events: readonly GenerationEvent[]) =>
  events.map((event) => (event.kind === 'prompt' ? '' : event.text)).join('')

describe('a generator behind a channel', () => {
  test('gives the events of the generator at the other end, fields and order alike', async () => {
    const { inner, outer } = behindChannel()
    const request = {
      prompt: ids('abc'),
      maxTokens: 7,
      stop: ['ca'],
      logprobs: 2,
      promptLogprobs: true,
      logitBias: new Map([[5, -1]]),
    }
    expect(await all(outer.generate(request))).toEqual(await all(inner.generate(request)))
    expect(outer.context).toBe(256)
  })
  test('keeps texts apart that are written at the same time', async () => {
    const { outer } = behindChannel({ slots: 8 })
    const texts = Array.from({ length: 20 }, (_, i) => `text ${i};`)
    const found = await Promise.all(
      texts.map((text) => all(outer.generate({ prompt: ids(text), maxTokens: 40 }))),
    )
    for (const [i, text] of texts.entries()) expect(textOf(found[i]!)).toBe(text.repeat(9).slice(0, 40))
  })
  test('throws what the generator throws, as its class', async () => {
    const { outer } = behindChannel()
    const tooLong = outer.generate({ prompt: ids('a'), maxTokens: 1000 })
    await expect(all(tooLong)).rejects.toThrow(OptionError)
  })
  test('frees the place when the loop is left, and when the signal stops it', async () => {
    const { inner, outer } = behindChannel({ context: 1e6 })
    for await (const event of outer.generate({ prompt: ids('a') })) if (event.kind === 'token') break
    await vi.waitFor(() => expect(inner.load()).toEqual({ running: 0, waiting: 0 }), patient)
    const stopped = new AbortController()
    const reading = all(outer.generate({ prompt: ids('a') }, { signal: stopped.signal }))
    await vi.waitFor(() => expect(inner.load().running).toBe(1), patient)
    stopped.abort()
    await expect(reading).rejects.toThrow(AbortError)
    await vi.waitFor(() => expect(inner.load().running).toBe(0), patient)
    await vi.waitFor(() => expect(outer.load()).toEqual({ running: 0, waiting: 0 }), patient)
  })
  test('frees the place of a stopped text whose next event nobody asks for', async () => {
    const { inner, outer } = behindChannel({ context: 1e6 })
    const stopped = new AbortController()
    const events = outer.generate({ prompt: ids('a') }, { signal: stopped.signal })[Symbol.asyncIterator]()
    await events.next()
    stopped.abort()
    await vi.waitFor(() => expect(inner.load().running).toBe(0), patient)
    await expect(events.next()).rejects.toThrow(AbortError)
  })
  test('a text that nobody reads waits after 64 events, and holds up no other', async () => {
    const { inner, outer } = behindChannel({ context: 1000 })
    const slow = outer.generate({ prompt: ids('s') })[Symbol.asyncIterator]()
    await slow.next()
    await vi.waitFor(() => expect(inner.steps()).toBe(EVENTS_AHEAD), patient)
    expect(textOf(await all(outer.generate({ prompt: ids('f'), maxTokens: 200 })))).toBe('f'.repeat(200))
    expect(inner.steps()).toBe(EVENTS_AHEAD + 201)
    const rest = await all({ [Symbol.asyncIterator]: () => slow })
    expect(textOf(rest)).toBe('s'.repeat(999))
  })
  test('close ends all texts with AbortError, and later ones are refused', async () => {
    const { outer } = behindChannel({ context: 1e6 })
    const ended = expect(all(outer.generate({ prompt: ids('a') }))).rejects.toThrow(AbortError)
    await outer.close()
    await outer.close()
    await ended
    await expect(all(outer.generate({ prompt: ids('a') }))).rejects.toThrow(/is closed/)
  })
  test('a thread that dies ends all texts with what it died of', async () => {
    const { outer } = behindChannel({ context: 1e6 })
    const reading = all(outer.generate({ prompt: ids('a') }))
    outer.fail(new NativeError('the thread died'))
    await expect(reading).rejects.toThrow('the thread died')
    await expect(all(outer.generate({ prompt: ids('a') }))).rejects.toThrow('the thread died')
    await outer.close()
  })
})

describe('a generator in a worker thread', () => {
  /** Counts up from the first id of the prompt, one step a turn, in a thread that does nothing else. */
  const source = (port: string) => `
    import { parentPort } from 'node:worker_threads'
    import { answerGenerator } from ${JSON.stringify(port)}
    let running = 0
    answerGenerator(parentPort, {
      context: 1e6,
      load: () => ({ running, waiting: 0 }),
      async close() {},
      async *generate({ prompt, maxTokens }, { signal }) {
        running += 1
        try {
          yield { kind: 'prompt', tokens: prompt.length }
          for (let i = 0; i < maxTokens; i++) {
            await new Promise(setImmediate)
            if (signal.aborted) throw signal.reason
            yield { kind: 'token', id: prompt[0] + i, text: String(i) + ' ' }
          }
          yield { kind: 'end', text: '', reason: 'length', tokens: maxTokens }
        } finally { running -= 1 }
      },
    })`
  function inWorker(): { worker: Worker; generator: GeneratorThread } {
    const port = new URL('../../dist/generate/generator_port.js', import.meta.url)
    const code = `data:text/javascript,${encodeURIComponent(source(port.href))}`
    const worker = new Worker(new URL(code))
    ends.push(() => void worker.terminate())
    return { worker, generator: generatorThread(worker, 1e6) }
  }
  const numbers = (generator: TextGenerator, count: number) =>
    all(generator.generate({ prompt: Uint32Array.of(7), maxTokens: count }))

  test('writes several texts at once, and closes with its thread', async () => {
    const { worker, generator } = inWorker()
    const exit = new Promise((resolve) => worker.once('exit', resolve))
    const texts = await Promise.all([numbers(generator, 300), numbers(generator, 3)])
    expect(texts.map((events) => events.length)).toEqual([302, 5])
    expect(texts[1]!.slice(1, 4)).toEqual([
      { kind: 'token', id: 7, text: '0 ' },
      { kind: 'token', id: 8, text: '1 ' },
      { kind: 'token', id: 9, text: '2 ' },
    ])
    await generator.close()
    expect(await exit).toBe(0)
  })
  test('is stopped within its next steps', async () => {
    const { generator } = inWorker()
    for await (const event of generator.generate({ prompt: Uint32Array.of(1), maxTokens: 1e6 }))
      if (event.kind === 'token') break
    // The load comes with whatever the thread says next.
    await vi.waitFor(async () => {
      await numbers(generator, 1)
      expect(generator.load().running).toBe(0)
    })
  })
})
