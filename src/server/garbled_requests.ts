/** Errors in OpenAI's form for what Node itself refuses: no HTTP, heads that are too long, clients that are too slow. */
import { type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { ApiError, type ApiErrorDetails, errorBody } from './api_error.ts'

interface Refusal extends Required<Pick<ApiErrorDetails, 'status' | 'code'>> {
  message: string
}

const refusals: Readonly<Record<string, Refusal>> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    code: 'headers_too_large',
    message: 'headers: are too long; send fewer and shorter ones',
  },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: {
    status: 413,
    code: 'body_too_large',
    message: 'request body: has too long extensions of its chunks; send it without',
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    code: 'request_timeout',
    message: 'request: did not come in time; send it faster',
  },
}
const garbled: Refusal = {
  status: 400,
  code: 'invalid_http',
  message: 'request: is no HTTP/1.1, or ended early; send it whole, with the length that its head says',
}

/**
 * Answers on `server` what never becomes a request, and closes the connection.
 *
 * @param refused gets the status of what no listener of requests has seen
 */
export function answerGarbage(server: Server, refused: (status: number) => void): void {
  const answers = new WeakMap<object, ServerResponse>()
  server.on('request', (request, response) => answers.set(request.socket, response))
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const answer = answers.get(socket)
    // Not into the middle of another answer.
    const between = !answer || answer.writableFinished || !answer.headersSent
    const refusal = refusals[error.code ?? ''] ?? garbled
    if (socket.writable && between && error.code !== 'ECONNRESET') {
      socket.write(wholeAnswer(refusal))
      if (!answer || answer.writableFinished) refused(refusal.status)
    }
    ;(socket as Socket).destroySoon()
  })
  server.on('checkExpectation', (request, response) => {
    const error = new ApiError(
      `expect: 100-continue alone is met, got ${request.headers.expect}; leave it out`,
      {
        status: 417,
        code: 'expectation_failed',
      },
    )
    response.writeHead(417, { 'content-type': 'application/json', connection: 'close' })
    response.end(JSON.stringify(errorBody(error)))
    refused(417)
  })
}

function wholeAnswer({ message, ...details }: Refusal): string {
  const body = JSON.stringify(errorBody(new ApiError(message, details)))
  const head = [
    `HTTP/1.1 ${details.status} ${STATUS_CODES[details.status]}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}
