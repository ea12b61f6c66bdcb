/** What the two sides of a generator in another thread say to each other, and the side that holds the generator. */
import type { MessagePort } from 'node:worker_threads'
import { type ErrorRecord, errorRecord } from '../tensor/error_record.ts'
import type { GenerationEvent, GenerationRequest, GeneratorLoad, TextGenerator } from './generation.ts'

/** To the generator; `key` tells texts apart. */
export type GeneratorCall =
  | { kind: 'generate'; key: number; request: GenerationRequest }
  /** So many events were taken. */
  | { kind: 'taken'; key: number; count: number }
  | { kind: 'stop'; key: number }
  | { kind: 'close' }

/** From the generator. */
export type GeneratorReply = { load: GeneratorLoad } & (
  | { kind: 'accepted'; key: number }
  | { kind: 'event'; key: number; event: GenerationEvent }
  | { kind: 'done'; key: number }
  | { kind: 'failed'; key: number; error: ErrorRecord }
  | { kind: 'closed' }
)

/** Events of one text that may lie at the other side untaken; then the generator waits. */
export const EVENTS_AHEAD = 64

/**
 * Answers the calls of a `generatorThread` at the other end, until it asks for `close`; then the port is closed too.
 *
 * @example answerGenerator(parentPort!, createTextGenerator(open))
 */
export function answerGenerator(port: MessagePort, generator: TextGenerator): void {
  const texts = new Map<number, { stopped: AbortController; room: Room }>()
  const say = (reply: Reply) => port.postMessage({ ...reply, load: generator.load() } as GeneratorReply)

  async function generate(key: number, request: GenerationRequest) {
    const [stopped, room] = [new AbortController(), new Room(EVENTS_AHEAD)]
    texts.set(key, { stopped, room })
    const { signal } = stopped
    signal.addEventListener('abort', () => room.add(1))
    try {
      const events = generator.generate(request, { signal })[Symbol.asyncIterator]()
      const first = events.next()
      first.catch(() => {})
      say({ kind: 'accepted', key })
      try {
        for (let next = await first; !next.done; next = await events.next()) {
          say({ kind: 'event', key, event: next.value })
          await room.take()
        }
      } finally {
        if (signal.aborted) await events.return?.()
      }
      texts.delete(key)
      say({ kind: 'done', key })
    } catch (error) {
      texts.delete(key)
      say({ kind: 'failed', key, error: errorRecord(error) })
    }
  }

  async function close() {
    await generator.close().catch(() => {})
    say({ kind: 'closed' })
    port.close()
  }

  port.on('message', (call: GeneratorCall) => {
    if (call.kind === 'generate') void generate(call.key, call.request)
    else if (call.kind === 'taken') texts.get(call.key)?.room.add(call.count)
    else if (call.kind === 'stop') texts.get(call.key)?.stopped.abort()
    else if (call.kind === 'close') void close()
  })
}

type Reply = GeneratorReply extends infer Each ? (Each extends unknown ? Omit<Each, 'load'> : never) : never

/** Counted places; `take` waits while there are none. */
class Room {
  #free: number
  #wake: (() => void) | undefined

  constructor(free: number) {
    this.#free = free
  }

  add(count: number): void {
    this.#free += count
    this.#wake?.()
  }

  async take(): Promise<void> {
    this.#free -= 1
    while (this.#free <= 0) {
      const { promise, resolve } = withResolvers()
      this.#wake = resolve
      await promise
    }
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
