/** The texts of one request: written at the same time, their events in the order in which they come. */
import { setMaxListeners } from 'node:events'
import type { GenerationEvent, GenerationRequest, TextGenerator } from '../generate/generation.ts'
import type { Metrics } from './metrics.ts'

/** An event of text `index` of the request. */
export interface TextEvent {
  index: number
  event: GenerationEvent
}

export interface TextRun {
  generator: TextGenerator
  /** Texts at once, at most. */
  parallel: number
  signal: AbortSignal
  metrics: Metrics
}

/**
 * Events of all texts. Leaving the loop ends those that are not done.
 *
 * @throws what the generator throws for any of them; the others are stopped.
 */
export async function* runTexts(
  requests: readonly GenerationRequest[],
  { generator, parallel, signal: outer, metrics }: TextRun,
): AsyncGenerator<TextEvent, void, void> {
  const stopped = new AbortController()
  const signal = AbortSignal.any([outer, stopped.signal])
  // Each text listens to it.
  setMaxListeners(0, signal)
  const waiting = requests.entries()
  const running = new Map<number, { events: AsyncIterator<GenerationEvent>; next: Promise<Next> }>()
  const advance = (index: number, events: AsyncIterator<GenerationEvent>) => {
    const next = events.next().then((result) => ({ index, result }))
    // Whichever is not awaited when another fails.
    next.catch(() => {})
    running.set(index, { events, next })
  }
  const start = () => {
    const { value, done } = waiting.next()
    if (!done) advance(value[0], measured(generator.generate(value[1], { signal }), metrics))
  }
  try {
    while (running.size < Math.min(parallel, requests.length)) start()
    while (running.size > 0) {
      const { index, result } = await Promise.race([...running.values()].map(({ next }) => next))
      if (result.done) {
        running.delete(index)
        start()
      } else {
        yield { index, event: result.value }
        advance(index, running.get(index)!.events)
      }
    }
  } finally {
    stopped.abort()
    for (const { events } of running.values()) events.return?.().catch(() => {})
  }
}

interface Next {
  index: number
  result: IteratorResult<GenerationEvent>
}

/** Counts tokens, and times from the request to the first token and between tokens. */
async function* measured(events: AsyncIterable<GenerationEvent>, metrics: Metrics) {
  const begun = performance.now()
  let first = true
  for await (const event of events) {
    if (event.kind === 'prompt') metrics.promptTokens.add(event.tokens)
    if (event.kind === 'token') {
      metrics.generatedTokens.add(1)
      if (first) metrics.firstTokenSeconds.observe((performance.now() - begun) / 1000)
      first = false
    }
    yield event
  }
}
