/** How requests to the hub fail: in a way that may pass, or with an error that says what to do. */
import { printable, SourceError } from '../../tensor/errors.ts'

/** A failure that the next attempt may not see. */
export class TransientFailure extends Error {
  /** Milliseconds that the server asks to wait. */
  readonly retryAfter: number | undefined
  constructor(
    message: string,
    { cause, retryAfter }: { cause?: unknown; retryAfter?: number | undefined } = {},
  ) {
    super(message, { cause })
    this.retryAfter = retryAfter
  }
}

/** The error of an answer whose status is not among the `wanted` ones; 408, 429 and 5xx may pass. */
export function statusError(
  status: number,
  headers: Headers,
  { subject, hasToken, wanted }: { subject: string; hasToken: boolean; wanted: readonly number[] },
): SourceError | TransientFailure {
  if (status === 408 || status === 429 || status >= 500) {
    return new TransientFailure(`HTTP ${status}`, { retryAfter: retryAfter(headers) })
  }
  const told = headers.get('x-error-message') || headers.get('x-error-code') || `HTTP ${status}`
  const reason = printable(told, 300)
  const facts = { source: subject, status, reason }
  if (status === 401 || status === 403) {
    const wayOut = hasToken
      ? 'check the name, and on its page whether your account was given access'
      : 'check the name, or set HF_TOKEN if the model is private or gated'
    const message = `${subject}: the hub must allow it, it refuses (${reason}); ${wayOut}`
    return new SourceError(message, { code: 'PARE_E_HUB_REFUSED', facts })
  }
  if (status === 404) {
    const message = `${subject}: not found on the hub (${reason}); check organisation, name, revision and file`
    return new SourceError(message, { code: 'PARE_E_SOURCE_NOT_FOUND', facts })
  }
  const message = `${subject}: the hub must answer ${wanted.join(' or ')}, it answers ${status} (${reason}); check HF_ENDPOINT`
  return new SourceError(message, { code: 'PARE_E_HUB_ANSWER', facts })
}

/** The hub answered with something else than `needed`. */
export function malformedAnswer(subject: string, needed: string, cause?: unknown): SourceError {
  return new SourceError(`${subject}: the hub must send ${needed}, it does not; check HF_ENDPOINT`, {
    code: 'PARE_E_HUB_ANSWER',
    facts: { source: subject },
    cause,
  })
}

/** The hub cannot be asked; `failures` attempts before this one failed too. */
export function unreachable(
  subject: string,
  { host }: URL,
  failure: TransientFailure,
  failures: number,
): SourceError {
  const tries = failures > 0 ? ` after ${failures + 1} attempts` : ''
  return new SourceError(
    `${subject}: ${host} must be reachable, it is not${tries} (${failure.message}); check the network, a proxy (Node.js uses HTTPS_PROXY only with NODE_USE_ENV_PROXY=1, from version 24 on) or set HF_ENDPOINT to a mirror`,
    { code: 'PARE_E_HUB_UNREACHABLE', facts: { source: subject, host }, cause: failure },
  )
}

/** Milliseconds of a Retry-After, in seconds or as a date. */
function retryAfter(headers: Headers): number | undefined {
  const text = headers.get('retry-after')
  if (text === null) return undefined
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined
}
