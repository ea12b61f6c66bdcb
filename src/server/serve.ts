/** A running server: the socket first, which says that the model is being loaded, then the model. */
import type { ResolveOptions } from '../models/source/resolved.ts'
import { type AppOptions, createApp } from './app.ts'
import { type HttpServer, type ListenOptions, listen } from './http_server.ts'
import { type LoadedModel, type LoadOptions, loadServedModel } from './load_served_model.ts'
import type { ServedModel } from './served_model.ts'

export interface ServeOptions
  extends LoadOptions,
    Pick<ListenOptions, 'host' | 'port'>,
    Pick<AppOptions, 'apiKey' | 'cors' | 'maxBody'> {
  /** Names beside its own that the server may be called by. @default none */
  allowedHosts?: readonly string[]
  /** Texts that are written at once, 1 to 1024. @default 8 */
  parallel?: number
  /** Texts that wait for a place; what comes then is refused with 429. @default 64 */
  maxQueue?: number
}

export interface ServeHooks extends Pick<ResolveOptions, 'signal' | 'progress'> {
  /** Gets errors that are no fault of a client. */
  log?: (error: unknown) => void
}

export interface RunningServer extends Pick<HttpServer, 'url' | 'port'> {
  served: ServedModel
  /** Fails when the model's thread dies. */
  alive: Promise<never>
  /** Waits so many milliseconds for answers that are on their way, then ends all. */
  stop(drain: number): Promise<void>
}

export const DEFAULT_HOST = '127.0.0.1'
export const DEFAULT_PARALLEL = 8

/**
 * Serves a model with OpenAI's endpoints until `stop`.
 *
 * @throws SourceError where the address or the model cannot be had, OptionError and FormatError for what cannot be served.
 * @example const { url, stop } = await serve({ source: 'model.gguf', port: 0 })
 */
export async function serve(
  options: ServeOptions,
  { log, ...hooks }: ServeHooks = {},
): Promise<RunningServer> {
  const { host = DEFAULT_HOST, port, allowedHosts = [], parallel = DEFAULT_PARALLEL, maxQueue = 64 } = options
  let loaded: LoadedModel | undefined
  const app = createApp({
    model: () => loaded?.served,
    names: { host, allowed: allowedHosts },
    parallel,
    maxQueue,
    apiKey: options.apiKey,
    ...(options.cors ? { cors: options.cors } : {}),
    ...(options.maxBody === undefined ? {} : { maxBody: options.maxBody }),
    ...(log ? { log } : {}),
  })
  const server = await listen(app, { host, ...(port === undefined ? {} : { port }) })
  try {
    const generator = { ...options.generator, slots: parallel }
    loaded = await loadServedModel({ ...options, generator }, hooks)
  } catch (error) {
    await server.stop(0)
    throw error
  }
  const { served, alive, close } = loaded
  return {
    url: server.url,
    port: server.port,
    served,
    alive,
    async stop(drain) {
      await server.stop(drain)
      await close()
    },
  }
}
