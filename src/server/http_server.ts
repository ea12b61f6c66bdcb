/** The app behind a socket: limits against slow and garbled clients, and an end that loses nothing. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener, RequestError } from '@hono/node-server'
import { SourceError } from '../tensor/errors.ts'
import { apiErrorOf, badRequest, errorResponse } from './api_error.ts'
import type { App } from './app.ts'
import { answerGarbage } from './garbled_requests.ts'
import { needWhole } from './need_whole.ts'

export interface ListenOptions {
  /** @default '127.0.0.1' */
  host?: string
  /** 0 takes a free one. @default 8080 */
  port?: number
  /** Milliseconds in which the head of a request must come, and all of it. @default 10000, 60000 */
  headersTimeout?: number
  requestTimeout?: number
}

export interface HttpServer {
  /** `http://127.0.0.1:8080` */
  url: string
  port: number
  /**
   * Takes no more connections, waits so many milliseconds for the answers that are on their way, ends the others with an
   * error, and closes.
   */
  stop(drain: number): Promise<void>
}

/** Bytes of the head of a request. */
const HEAD_BYTES = 16_384
/** Milliseconds between looks at slow requests. */
const SLOW_CHECK = 2000

/** @throws SourceError (PARE_E_ADDRESS) where the address cannot be had, OptionError for a port that is none. */
export async function listen(
  app: App,
  { host = '127.0.0.1', port = 8080, headersTimeout = 10_000, requestTimeout = 60_000 }: ListenOptions = {},
): Promise<HttpServer> {
  needWhole('port', port, 0, 65535)
  const listener = getRequestListener((request, env) => app.fetch(request, env), {
    overrideGlobalObjects: false,
    errorHandler: (error) => {
      const refusal =
        error instanceof RequestError
          ? badRequest(`request: its address cannot be read (${error.message})`, undefined, 'invalid_url')
          : apiErrorOf(error)
      app.refused(refusal.status)
      return errorResponse(refusal)
    },
  })
  const server = createServer(
    {
      headersTimeout,
      requestTimeout,
      maxHeaderSize: HEAD_BYTES,
      connectionsCheckingInterval: Math.min(SLOW_CHECK, requestTimeout),
      // The app says in its own form that the header is missing.
      requireHostHeader: false,
    },
    listener,
  )
  answerGarbage(server, app.refused)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(cannotListen(host, port, cause)))
    server.listen(port, host, resolve)
  })
  const address = server.address() as AddressInfo
  const name = address.family === 'IPv6' ? `[${address.address}]` : address.address
  return {
    url: `http://${name}:${address.port}`,
    port: address.port,
    async stop(drain) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      await app.requests.stop(drain)
      // Last bytes are on their way; a reader that does not take them is not waited for.
      const timer = setTimeout(() => server.closeAllConnections(), 500)
      server.closeIdleConnections()
      await closed
      clearTimeout(timer)
    },
  }
}

function cannotListen(host: string, port: number, cause: NodeJS.ErrnoException): SourceError {
  const reason = cause.code ?? cause.message
  const way =
    reason === 'EADDRINUSE'
      ? 'another program has it; choose another --port'
      : 'choose another --host or --port'
  return new SourceError(`${host}:${port}: cannot be listened on (${reason}); ${way}`, {
    code: 'PARE_E_ADDRESS',
    facts: { host, port, reason },
    cause,
  })
}
