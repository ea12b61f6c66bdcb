/** A text encoder in another thread: what the two sides say, and both of them. */
import { setImmediate } from 'node:timers/promises'
import type { MessagePort, Worker } from 'node:worker_threads'
import { boundedEncoder } from '../models/bert/first_tokens.ts'
import { sentenceEncoder } from '../models/bert/sentence_encoder.ts'
import { readSentenceSettings } from '../models/bert/sentence_settings.ts'
import type { OpenTextEncoder } from '../models/open_model.ts'
import { type ErrorRecord, errorRecord, revivedError } from '../tensor/error_record.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { scope } from '../tensor/index.ts'
import type { TextEmbedder, TextVectors } from './served_model.ts'

export type EmbedderCall =
  | { kind: 'embed'; key: number; texts: readonly string[] }
  | { kind: 'stop embedding'; key: number }
export type EmbedderReply =
  | ({ kind: 'vectors'; key: number } & TextVectors)
  | { kind: 'not embedded'; key: number; error: ErrorRecord }

/** What the other thread tells of its encoder before any text. */
export interface EncoderFacts {
  width: number
  /** Tokens of a text at most. */
  longest: number
}

/** Texts that run between two looks at who is gone. */
const PART = 16

/** Answers the calls of an `embedderThread`; requests run one after the other. */
export function answerEmbedder(port: MessagePort, open: OpenTextEncoder): EncoderFacts {
  const encoder = scope(() => sentenceEncoder(open))
  const { lowerCase } = readSentenceSettings(open.path)
  const bounded = boundedEncoder(open.tokenizer())
  const stopped = new Set<number>()
  const say = (reply: EmbedderReply) => port.postMessage(reply)

  /** Tokens of a text. @throws OptionError for one that would be cut. */
  const count = (text: string, place: number): number => {
    const { length } = bounded(lowerCase ? text.toLowerCase() : text, encoder.longest + 1)
    if (length <= encoder.longest) return length
    throw new OptionError(
      `input[${place}]: the model reads ${encoder.longest} tokens of a text, this has more; cut it into shorter ones`,
      { code: 'PARE_E_TEXT_TOO_LONG', facts: { most: encoder.longest } },
    )
  }
  async function embed(key: number, texts: readonly string[]) {
    try {
      const tokens = texts.map(count)
      const vectors: Float32Array[] = []
      for (let start = 0; start < texts.length; start += PART) {
        await setImmediate()
        if (stopped.has(key)) throw new AbortError()
        vectors.push(...encoder.embed(texts.slice(start, start + PART)))
      }
      say({ kind: 'vectors', key, vectors, tokens })
    } catch (error) {
      say({ kind: 'not embedded', key, error: errorRecord(error) })
    }
    stopped.delete(key)
  }
  let last: Promise<void> = Promise.resolve()
  port.on('message', (call: EmbedderCall) => {
    if (call.kind === 'embed') last = last.then(() => embed(call.key, call.texts))
    else if (call.kind === 'stop embedding') stopped.add(call.key)
  })
  return { width: encoder.width, longest: encoder.longest }
}

export interface EmbedderThread extends TextEmbedder {
  /** The other thread is gone: all requests end with this error, and so do later ones. */
  fail(error: Error): void
}

/** The encoder that answers at the other end of `port` with `answerEmbedder`. */
export function embedderThread(port: MessagePort | Worker, { width }: EncoderFacts): EmbedderThread {
  const open = new Map<number, { resolve: (found: TextVectors) => void; reject: (error: Error) => void }>()
  let nextKey = 0
  let gone: Error | undefined
  const say = (call: EmbedderCall) => port.postMessage(call)
  const hear = (reply: EmbedderReply) => {
    if (reply.kind !== 'vectors' && reply.kind !== 'not embedded') return
    const request = open.get(reply.key)
    if (reply.kind === 'vectors') request?.resolve({ vectors: reply.vectors, tokens: reply.tokens })
    else request?.reject(revivedError(reply.error))
  }
  // The two have no common type of `on`.
  if ('terminate' in port) port.on('message', hear)
  else port.on('message', hear)
  return {
    width,
    async embed(texts, { signal }) {
      if (gone) throw gone
      if (signal.aborted) throw new AbortError()
      const key = nextKey++
      const found = new Promise<TextVectors>((resolve, reject) => open.set(key, { resolve, reject }))
      const abort = () => {
        say({ kind: 'stop embedding', key })
        open.get(key)?.reject(new AbortError())
      }
      signal.addEventListener('abort', abort, { once: true })
      say({ kind: 'embed', key, texts })
      try {
        return await found
      } finally {
        signal.removeEventListener('abort', abort)
        open.delete(key)
      }
    },
    fail(error) {
      gone ??= error
      for (const { reject } of open.values()) reject(gone)
    },
  }
}
