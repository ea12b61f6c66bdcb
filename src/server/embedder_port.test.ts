import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { afterEach, expect, test } from 'vitest'
import { expectedOf, openEncoder } from '../models/bert/fixtures.suite.ts'
import { distance } from '../models/llama/fixtures.suite.ts'
import { AbortError, NativeError, OptionError } from '../tensor/errors.ts'
import { answerEmbedder, embedderThread } from './embedder_port.ts'

const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})
function behindChannel(): ReturnType<typeof embedderThread> {
  const { port1, port2 }: { port1: MessagePort; port2: MessagePort } = new MessageChannel()
  const open = openEncoder('bert-sentence')
  ends.push(
    () => port1.close(),
    () => open.close(),
  )
  return embedderThread(port1, answerEmbedder(port2, open))
}
const never = new AbortController().signal
const { width, ...all } = expectedOf('bert-sentence')
/** Those that are not cut to the 12 tokens of the model. */
const whole = all.ids.flatMap(({ length }, i) => (length < 12 ? [i] : []))
const texts = whole.map((i) => all.texts[i]!)
const vectors = whole.map((i) => all.vectors[i]!)
const ids = whole.map((i) => all.ids[i]!)

test('vectors are those of the float64 oracle, in the order of the texts, with the tokens of each', async () => {
  const embedder = behindChannel()
  expect(embedder.width).toBe(width)
  const many = Array.from({ length: 5 }, () => texts).flat()
  const found = await embedder.embed(many, { signal: never })
  // The tolerance of the encoder's own test.
  for (const [i, vector] of found.vectors.entries())
    expect(distance([...vector], vectors[i % texts.length]!)).toBeLessThan(1e-5)
  expect(found.tokens).toEqual(many.map((_, i) => ids[i % texts.length]!.length))
})
test('requests at the same time get each their own', async () => {
  const embedder = behindChannel()
  const found = await Promise.all(texts.map((text) => embedder.embed([text], { signal: never })))
  for (const [i, { vectors: own }] of found.entries())
    expect(distance([...own[0]!], vectors[i]!)).toBeLessThan(1e-5)
})
test('a text that would be cut is refused, by its place', async () => {
  const embedder = behindChannel()
  const long = 'the cat sat on the mat '.repeat(200)
  await expect(embedder.embed(['short', long], { signal: never })).rejects.toThrow(
    expect.objectContaining({
      constructor: OptionError,
      code: 'PARE_E_TEXT_TOO_LONG',
      message: expect.stringMatching(/^input\[1\]: the model reads \d+ tokens/),
    }),
  )
})
test('a request that is stopped ends at once, and the next one is answered', async () => {
  const embedder = behindChannel()
  const stopped = new AbortController()
  const many = embedder.embed(Array(500).fill(texts[0]), { signal: stopped.signal })
  const ended = expect(many).rejects.toThrow(AbortError)
  stopped.abort()
  await ended
  expect((await embedder.embed(['a'], { signal: never })).vectors).toHaveLength(1)
  await expect(embedder.embed(['a'], { signal: stopped.signal })).rejects.toThrow(AbortError)
})
test('a thread that dies ends all requests with what it died of', async () => {
  const embedder = behindChannel()
  const ended = expect(embedder.embed(['a'], { signal: never })).rejects.toThrow('the thread died')
  embedder.fail(new NativeError('the thread died'))
  await ended
  await expect(embedder.embed(['a'], { signal: never })).rejects.toThrow('the thread died')
})
