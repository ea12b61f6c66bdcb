/**
 * Requests to the hub over fetch. Redirects are followed by hand, so that the token goes to the endpoint's
 * origin only and hashes are believed from there only. Cut connections, 408, 429 and 5xx are repeated with growing pauses.
 */
import { AbortError, PareError, printable, SourceError } from '../../tensor/errors.ts'
import { pause } from './abort.ts'
import { answeredRange, declaredBytes, takeBytes, withLinked } from './hub_answers.ts'
import { malformedAnswer, statusError, TransientFailure, unreachable } from './hub_errors.ts'

export interface HubClientOptions {
  endpoint: URL
  token: string | undefined
  /** Milliseconds without a byte after which a request counts as cut. */
  timeout: number
  /** Milliseconds before the first repetition; doubles each time, up to 10 s. */
  retryDelay: number
  signal?: AbortSignal | undefined
  /** What is asked for, for messages. */
  subject: string
}
/** What the endpoint says about a file before a byte of it is sent. */
export interface FileMetadata {
  /** Name of the blob: 64 hexadecimal digits of a SHA-256, or 40 of a git blob's SHA-1. */
  etag: string
  bytes: number | undefined
}
interface Exchange {
  status: number
  headers: Headers
  /** Headers of the last answer that came from the endpoint itself. */
  endpointHeaders: Headers
  body: AsyncIterable<Uint8Array>
  /** Ends the exchange; the body need not have been read. */
  close(): Promise<void>
}

const maximumHops = 10
/** Repetitions without one new byte in between. */
export const maximumRetries = 5
const maximumPause = 10_000
const maximumJsonBytes = 32 * 2 ** 20

export class HubClient {
  readonly #options: HubClientOptions

  constructor(options: HubClientOptions) {
    this.#options = options
  }

  /** The JSON at a path below the endpoint. */
  async json(path: string): Promise<unknown> {
    return this.retry(async () => {
      const exchange = await this.#exchange(this.#url(path), { method: 'GET', leave: false })
      try {
        await this.#checkStatus(exchange, [200])
        const chunks: Uint8Array[] = []
        let bytes = 0
        for await (const chunk of exchange.body) {
          bytes += chunk.length
          if (bytes > maximumJsonBytes)
            throw malformedAnswer(this.#options.subject, `an answer of at most ${maximumJsonBytes} bytes`)
          chunks.push(chunk)
        }
        return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown
      } catch (error) {
        if (error instanceof SyntaxError) throw malformedAnswer(this.#options.subject, 'JSON', error)
        throw error
      } finally {
        await exchange.close()
      }
    })
  }

  /** What the endpoint declares about a file. */
  async metadata(path: string): Promise<FileMetadata> {
    return this.retry(async () => {
      const exchange = await this.#exchange(this.#url(path), { method: 'HEAD', leave: false })
      try {
        const { status, endpointHeaders: headers } = exchange
        const redirected = status >= 300 && status < 400
        if (!redirected) await this.#checkStatus(exchange, [200])
        const etag = (headers.get('x-linked-etag') ?? (redirected ? '' : headers.get('etag')) ?? '')
          .replace(/^W\//, '')
          .replaceAll('"', '')
          .toLowerCase()
        if (!/^(?:[0-9a-f]{64}|[0-9a-f]{40})$/.test(etag)) {
          throw new SourceError(
            `${this.#options.subject}: a SHA-256 or git hash of ${printable(path)} is needed to check the download, the server sends none; use another HF_ENDPOINT`,
            { code: 'PARE_E_HUB_UNVERIFIED', facts: { source: this.#options.subject } },
          )
        }
        return { etag, bytes: declaredBytes(headers, redirected) }
      } finally {
        await exchange.close()
      }
    })
  }

  /**
   * One attempt to read a file from byte `from` on; `start` is where the server really begins, `from` or 0.
   *
   * @throws TransientFailure, also from the body
   */
  async content(
    path: string,
    from: number,
  ): Promise<{ start: number; body: AsyncIterable<Uint8Array>; close(): Promise<void> }> {
    const exchange = await this.#exchange(this.#url(path), { method: 'GET', leave: true, from })
    try {
      await this.#checkStatus(exchange, from > 0 ? [200, 206, 416] : [200])
      const { status, headers, body, close } = exchange
      if (status === 416) {
        await close()
        return await this.content(path, 0)
      }
      const first = Number(/^bytes (\d+)-/.exec(headers.get('content-range') ?? '')?.[1])
      if (status === 206 && first !== from)
        throw malformedAnswer(this.#options.subject, `a range from byte ${from} on`)
      return { start: status === 206 ? from : 0, body, close }
    } catch (error) {
      await exchange.close()
      throw error
    }
  }

  /**
   * Bytes `from` to `end` (exclusive) of a file, fewer where it ends before, and its size. They are not checked: a hash
   * covers whole files.
   */
  async range(path: string, from: number, end: number): Promise<{ bytes: Uint8Array; size: number }> {
    return this.retry(async () => {
      const exchange = await this.#exchange(this.#url(path), { method: 'GET', leave: true, from, end })
      try {
        // A server without ranges sends the file from its beginning.
        await this.#checkStatus(exchange, from > 0 ? [206] : [200, 206, 416])
        const { status, headers, body } = exchange
        const { first, size } = answeredRange(status, headers)
        if (size === undefined || (status === 206 && first !== from))
          throw malformedAnswer(
            this.#options.subject,
            `a range from byte ${from} on with the size of the file`,
          )
        const wanted = status === 416 ? 0 : Math.max(0, Math.min(end, size) - from)
        const bytes = await takeBytes(body, wanted)
        if (bytes.length < wanted)
          throw new TransientFailure(`the connection ended at byte ${bytes.length} of ${wanted}`)
        return { bytes, size }
      } finally {
        await exchange.close()
      }
    })
  }

  /** Repeats `work` after a TransientFailure, at most `maximumRetries` times. */
  async retry<T>(work: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; failures++) {
      try {
        return await work()
      } catch (error) {
        await this.pauseAfter(error, failures)
      }
    }
  }

  /** Waits before the next attempt, or throws what ends them. */
  async pauseAfter(error: unknown, failures: number): Promise<void> {
    const { subject, endpoint, signal, retryDelay } = this.#options
    if (signal?.aborted) throw new AbortError(undefined, { cause: signal.reason })
    if (!(error instanceof TransientFailure)) throw error
    if (failures >= maximumRetries) throw unreachable(subject, endpoint, error, failures)
    // Up to a quarter more, so that many clients do not come back at once.
    const own = Math.min(retryDelay * 2 ** failures * (1 + Math.random() / 4), maximumPause)
    const asked = error.retryAfter ?? 0
    if (asked > 60_000) {
      throw new SourceError(
        `${subject}: the server asks to wait ${Math.ceil(asked / 1000)} s, longer than the minute that is waited; run again later`,
        {
          code: 'PARE_E_HUB_BUSY',
          facts: { source: subject, seconds: Math.ceil(asked / 1000) },
          cause: error,
        },
      )
    }
    await pause(Math.max(own, asked), signal)
  }

  #url(path: string): URL {
    return new URL(`${this.#options.endpoint.href.replace(/\/+$/, '')}/${path}`)
  }

  /** Sends a request and follows redirects, with `leave` to other origins too. */
  async #exchange(
    url: URL,
    how: { method: 'GET' | 'HEAD'; leave: boolean; from?: number; end?: number },
  ): Promise<Exchange> {
    const { endpoint } = this.#options
    let endpointHeaders = new Headers()
    let trusted = true
    for (let hop = 0; hop < maximumHops; hop++) {
      // Whoever was sent away never gets the token again, not even on the way back.
      trusted &&= url.origin === endpoint.origin
      const exchange = await this.#send(url, how, trusted)
      if (trusted) endpointHeaders = withLinked(endpointHeaders, exchange.headers)
      const location = exchange.headers.get('location')
      if (exchange.status < 300 || exchange.status >= 400 || location === null)
        return { ...exchange, endpointHeaders }
      await exchange.close()
      if (!URL.canParse(location, url.href))
        throw malformedAnswer(this.#options.subject, 'a redirect to an address')
      const next = new URL(location, url)
      if (next.protocol !== 'https:' && next.protocol !== url.protocol) {
        throw malformedAnswer(this.#options.subject, 'a redirect to https')
      }
      if (next.origin !== endpoint.origin && !how.leave) return { ...exchange, endpointHeaders }
      url = next
    }
    throw malformedAnswer(this.#options.subject, `at most ${maximumHops} redirects`)
  }

  async #send(
    url: URL,
    { method, from = 0, end }: { method: string; from?: number; end?: number },
    trusted: boolean,
  ): Promise<Omit<Exchange, 'endpointHeaders'>> {
    const { token, timeout, signal } = this.#options
    const headers: Record<string, string> = { 'accept-encoding': 'identity', 'user-agent': 'pare' }
    if (trusted && token !== undefined) headers.authorization = `Bearer ${token}`
    if (from > 0 || end !== undefined) headers.range = `bytes=${from}-${end === undefined ? '' : end - 1}`
    const stalled = new AbortController()
    const timer = setTimeout(() => stalled.abort(new Error(`no byte for ${timeout} ms`)), timeout)
    const signals = signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal
    try {
      const response = await fetch(url, { method, headers, redirect: 'manual', signal: signals })
      timer.refresh()
      return {
        status: response.status,
        headers: response.headers,
        body: this.#body(response, timer),
        close: async () => {
          clearTimeout(timer)
          if (!response.bodyUsed) await response.body?.cancel().catch(() => undefined)
        },
      }
    } catch (error) {
      clearTimeout(timer)
      throw this.#failure(error)
    }
  }

  async *#body(response: Response, timer: NodeJS.Timeout): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of response.body ?? []) {
        timer.refresh()
        yield chunk as Uint8Array
      }
    } catch (error) {
      throw this.#failure(error)
    } finally {
      clearTimeout(timer)
    }
  }

  /** What fetch threw: an abort of the user, a failure for good (name, certificate), or one that may pass. */
  #failure(error: unknown): unknown {
    const { signal, subject, endpoint } = this.#options
    if (signal?.aborted) return new AbortError(undefined, { cause: signal.reason })
    if (error instanceof PareError || error instanceof TransientFailure) return error
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : (error as Error)
    const code = 'code' in cause ? String(cause.code) : ''
    const failure = new TransientFailure(printable([code, cause.message].filter(Boolean).join(': '), 300), {
      cause: error,
    })
    const lasting = /^(?:ENOTFOUND|ECONNREFUSED|ERR_INVALID|ERR_TLS|CERT_|DEPTH_|SELF_SIGNED|UNABLE_TO)/.test(
      code,
    )
    return lasting ? unreachable(subject, endpoint, failure, 0) : failure
  }

  async #checkStatus({ status, headers, close }: Exchange, wanted: number[]): Promise<void> {
    if (wanted.includes(status)) return
    await close()
    const { subject, token } = this.#options
    throw statusError(status, headers, { subject, hasToken: token !== undefined, wanted })
  }
}
