/** Errors in OpenAI's form: `{ error: { message, type, param, code } }`. */
import { AbortError, FormatError, OptionError, PareError, ShapeError } from '../tensor/errors.ts'

export interface ApiErrorDetails {
  status: 400 | 401 | 403 | 404 | 405 | 408 | 413 | 415 | 417 | 429 | 431 | 500 | 503
  /** Stable name for programs, such as `context_length_exceeded`. @default null */
  code?: string
  /** The field of the body that is at fault. @default null */
  param?: string
  /** Seconds after which another try makes sense. */
  retryAfter?: number
  /** What it follows from; no client sees it. */
  cause?: unknown
}

/** What a client gets in place of an answer. */
export class ApiError extends Error {
  readonly status: ApiErrorDetails['status']
  readonly code: string | null
  readonly param: string | null
  readonly retryAfter: number | undefined

  constructor(message: string, { status, code, param, retryAfter, cause }: ApiErrorDetails) {
    super(message, { cause })
    this.name = 'ApiError'
    this.status = status
    this.code = code ?? null
    this.param = param ?? null
    this.retryAfter = retryAfter
  }

  get type(): string {
    if (this.status === 429) return 'rate_limit_error'
    return this.status >= 500 ? 'server_error' : 'invalid_request_error'
  }
}

/** A request whose field `param` cannot be used. */
export const badRequest = (message: string, param?: string, code?: string): ApiError =>
  new ApiError(message, { status: 400, ...(param && { param }), ...(code && { code }) })

/** The object of an error. */
export const errorBody = ({ message, type, param, code }: ApiError) => ({
  error: { message, type, param, code },
})

/** The error as a whole answer. */
export function errorResponse(error: ApiError): Response {
  const headers = new Headers({ 'content-type': 'application/json' })
  if (error.retryAfter !== undefined) headers.set('retry-after', String(error.retryAfter))
  if (error.status === 401) headers.set('www-authenticate', 'Bearer')
  if (error.status === 405) headers.set('allow', 'POST')
  return new Response(JSON.stringify(errorBody(error)), { status: error.status, headers })
}

/** The way from what was thrown to what a client may know; defects keep their insides. */
export function apiErrorOf(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (error instanceof AbortError)
    return new ApiError('the server stops, so that the text was not written to its end; try another server', {
      status: 503,
      code: 'stopping',
    })
  // What a request asks for, and what its messages make of a template.
  if (error instanceof OptionError) return badRequest(...inFields(error), error.code)
  if (error instanceof FormatError && error.code.startsWith('PARE_E_TEMPLATE'))
    return badRequest(error.message, 'messages', error.code)
  const message =
    error instanceof PareError && !(error instanceof ShapeError)
      ? error.message
      : 'the server failed at this request; its log says where'
  return new ApiError(message, { status: 500, code: 'server_error' })
}

/** Message and field of an error about an option, `maxTokens` as `max_tokens` in both. */
function inFields({ message, facts: { option } }: OptionError): [message: string, param?: string] {
  if (typeof option !== 'string') return [message]
  const field = option.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
  return [message.startsWith(`${option}:`) ? `${field}${message.slice(option.length)}` : message, field]
}
