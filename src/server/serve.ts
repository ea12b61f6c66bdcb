/** A running server: the socket first, which says that the model is being loaded, then the model. */
import type { TextGeneratorOptions } from '../generate/text_generator.ts'
import type { ResolveOptions } from '../models/source/resolved.ts'
import { OptionError } from '../tensor/errors.ts'
import { type AppOptions, createApp } from './app.ts'
import { type ListenOptions, listen } from './http_server.ts'
import { type LoadedModel, type LoadOptions, loadServedModel } from './load_served_model.ts'
import type { ServedModel } from './served_model.ts'

export interface ServeOptions
  extends Omit<LoadOptions, 'generator'>,
    Pick<ListenOptions, 'host' | 'port'>,
    Pick<AppOptions, 'apiKey' | 'cors' | 'maxBody'> {
  /** How texts are written: context, memory of keys and values, number type, packed weights. @default those of createTextGenerator */
  generator?: Omit<TextGeneratorOptions, 'slots'>
  /** Names beside its own that the server may be called by, or `*` for any. @default none */
  allowedHosts?: readonly string[]
  /** Texts that are written at once, 1 to 1024. @default 8 */
  parallel?: number
  /** Texts that wait for a place, from 0; what comes then is refused with 429. @default 64 */
  maxQueue?: number
}

export interface ServeHooks extends Pick<ResolveOptions, 'signal' | 'progress'> {
  /** Gets errors that are no fault of a client. @default warnings of the process */
  log?: (error: unknown) => void
}

/** What is served. */
export interface ServedFacts extends Pick<ServedModel, 'id' | 'context' | 'quantization'> {
  /** `chats`: chats and texts; `texts`: a language model without a chat template; `vectors`: a text encoder. */
  answers: 'chats' | 'texts' | 'vectors'
}

export interface RunningServer {
  /** `http://127.0.0.1:8080` */
  url: string
  port: number
  model: ServedFacts
  /** Resolves behind `close`; fails where the thread of the model dies, and then every request does until `close`. */
  closed: Promise<void>
  /**
   * Takes no more requests, waits for answers that are on their way, ends the others with an error, and frees the model.
   *
   * @param options.drain milliseconds to wait, from 0 @default 5000
   */
  close(options?: { drain?: number }): Promise<void>
}

export const DEFAULT_HOST = '127.0.0.1'
export const DEFAULT_PARALLEL = 8
const DEFAULT_DRAIN = 5000

/**
 * Serves a model with OpenAI's endpoints until `close`, as docs/serve.md says. The model runs in a thread of its own. Signals of the
 * process are left to the caller; `hooks.signal` stops the loading alone.
 *
 * @throws OptionError for options out of their range, SourceError where the address or the model cannot be had, FormatError for
 *   what cannot be served, AbortError when the signal stops it.
 * @example
 * const server = await serve({ source: 'experiments/models/pare-4m', port: 0 })
 * const answer = await fetch(`${server.url}/v1/completions`, {
 *   method: 'POST',
 *   headers: { 'content-type': 'application/json' },
 *   body: JSON.stringify({ model: server.model.id, prompt: 'The whale', max_tokens: 20 }),
 * })
 * console.log((await answer.json()).choices[0].text)
 * await server.close()
 */
export async function serve(options: ServeOptions, hooks: ServeHooks = {}): Promise<RunningServer> {
  const { host = DEFAULT_HOST, port, allowedHosts = [], parallel = DEFAULT_PARALLEL, maxQueue = 64 } = options
  const { log = warn, ...loading } = hooks
  if (options.generator && 'slots' in options.generator)
    throw new OptionError('generator.slots: is what parallel says here; give parallel', {
      code: 'PARE_E_SERVER',
      facts: { option: 'parallel' },
    })
  let loaded: LoadedModel | undefined
  const app = createApp({
    model: () => loaded?.served,
    names: { host, allowed: allowedHosts },
    parallel,
    maxQueue,
    apiKey: options.apiKey,
    ...(options.cors ? { cors: options.cors } : {}),
    ...(options.maxBody === undefined ? {} : { maxBody: options.maxBody }),
    log,
  })
  const server = await listen(app, { host, ...(port === undefined ? {} : { port }) })
  try {
    const generator = { ...options.generator, slots: parallel }
    loaded = await loadServedModel({ ...options, generator }, loading)
  } catch (error) {
    await server.stop(0)
    throw error
  }
  const { served, alive, close } = loaded
  let end: () => void
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  const closed = Promise.race([ended, alive])
  closed.catch(() => {})
  let closing: Promise<void> | undefined
  return {
    url: server.url,
    port: server.port,
    model: factsOf(served),
    closed,
    close({ drain = DEFAULT_DRAIN } = {}) {
      closing ??= server
        .stop(drain)
        .then(() => end())
        .then(close)
      return closing
    },
  }
}

const factsOf = ({ id, context, quantization, embedder, language }: ServedModel): ServedFacts => ({
  ...{ id, context, quantization },
  answers: embedder ? 'vectors' : language?.template ? 'chats' : 'texts',
})

const warn = (error: unknown) => process.emitWarning(error instanceof Error ? error : String(error))
