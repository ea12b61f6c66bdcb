/** A generator that lives in another thread, so that steps of the model do not hold up this one. */
import type { MessagePort, Worker } from 'node:worker_threads'
import { revivedError } from '../tensor/error_record.ts'
import { AbortError, NativeError } from '../tensor/errors.ts'
import type { GenerationEvent, GenerationRequest, GeneratorLoad, TextGenerator } from './generation.ts'
import { EVENTS_AHEAD, type GeneratorCall, type GeneratorReply } from './generator_port.ts'

/** Answers that come over the port beside those of the generator are passed over. */
export interface GeneratorThread extends TextGenerator {
  /** The other thread is gone: all texts end with this error, and so do later ones. */
  fail(error: Error): void
}

/**
 * The generator that answers at the other end of `port` with `answerGenerator`. Of each text at most 64 events wait here;
 * where they are not taken, that text waits and others go on.
 *
 * @param context that of the generator at the other end
 * @example for await (const event of generatorThread(worker, 2048).generate({ prompt })) ...
 */
export function generatorThread(port: MessagePort | Worker, context: number): GeneratorThread {
  const texts = new Map<number, Inbox>()
  let load: GeneratorLoad = { running: 0, waiting: 0 }
  let nextKey = 0
  let gone: Error | undefined
  let closing: Promise<void> | undefined
  let closed = () => {}
  const say = (call: GeneratorCall) => port.postMessage(call)

  const hear = (reply: GeneratorReply) => {
    if (reply.load !== undefined) load = reply.load
    if (reply.kind === 'closed') closed()
    else if (reply.kind === 'event' || reply.kind === 'done' || reply.kind === 'failed')
      texts.get(reply.key)?.put(reply)
  }
  // The two have no common type of `on`.
  if ('terminate' in port) port.on('message', hear)
  else port.on('message', hear)

  async function* generate(
    request: GenerationRequest,
    { signal }: { signal?: AbortSignal } = {},
  ): AsyncGenerator<GenerationEvent, void, void> {
    if (signal?.aborted) throw new AbortError()
    if (gone) throw gone
    const key = nextKey++
    const inbox = new Inbox()
    let ended = false
    const end = () => {
      if (!ended && !gone) say({ kind: 'stop', key })
      ended = true
    }
    // Not left to the reader, who may never ask again.
    const stop = () => {
      inbox.fail(new AbortError())
      end()
    }
    signal?.addEventListener('abort', stop, { once: true })
    texts.set(key, inbox)
    try {
      say({ kind: 'generate', key, request })
      for (let taken = 1; ; taken++) {
        const reply = await inbox.take()
        if (reply.kind !== 'event') {
          ended = true
          if (reply.kind === 'failed') throw revivedError(reply.error)
          return
        }
        yield reply.event
        if (taken % (EVENTS_AHEAD / 4) === 0) say({ kind: 'taken', key, count: EVENTS_AHEAD / 4 })
      }
    } finally {
      signal?.removeEventListener('abort', stop)
      texts.delete(key)
      end()
    }
  }

  const fail = (error: Error) => {
    gone ??= error
    closed()
    for (const inbox of texts.values()) inbox.fail(gone)
  }
  return {
    context,
    generate,
    load: () => load,
    close() {
      closing ??= new Promise<void>((resolve) => {
        closed = resolve
        if (gone) return resolve()
        for (const inbox of texts.values()) inbox.fail(new AbortError())
        gone = new NativeError('the generator is closed; make a new one', { code: 'PARE_E_CLOSED' })
        say({ kind: 'close' })
      })
      return closing
    },
    fail,
  }
}

type TextReply = Extract<GeneratorReply, { kind: 'event' | 'done' | 'failed' }>

/** Replies about one text in their order; an error passes them all. */
class Inbox {
  #replies: TextReply[] = []
  #error: Error | undefined
  #wake: (() => void) | undefined

  put(reply: TextReply): void {
    this.#replies.push(reply)
    this.#wake?.()
  }

  fail(error: Error): void {
    this.#error ??= error
    this.#wake?.()
  }

  async take(): Promise<TextReply> {
    for (;;) {
      if (this.#error) throw this.#error
      const reply = this.#replies.shift()
      if (reply) return reply
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}
