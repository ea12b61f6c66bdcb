/** The bytes of a body as text, in bounded memory: one body alone, and all that are read at the same time. */
import { ApiError, badRequest } from './api_error.ts'
import { needWhole } from './need_whole.ts'

/** Bytes of a body that do not count among those of all, so that large ones cannot keep out small ones. */
const FREE_BYTES = 1 << 16
/** Bodies of the largest size that may be in memory before they are parsed. */
const LARGEST_AT_ONCE = 16
/** So many times the largest size is taken and thrown away, since a client that still sends may not see the answer. */
const THROWN_AWAY = 4

/** Counts the bytes of bodies that are being read. */
export class BodyBytes {
  /** Bytes of one body, at most. */
  readonly most: number
  #held = 0

  /** @throws OptionError where none could be read */
  constructor(most: number) {
    needWhole('maxBody', most, 1, 2 ** 31)
    this.most = most
  }

  /** Those that count now. */
  get held(): number {
    return this.#held
  }

  /**
   * The body as text; reading ends where it is too long.
   *
   * @throws ApiError 413 where it is longer than one may be, 429 where others hold too many bytes, 400 for what is no UTF-8.
   */
  async read(request: Request): Promise<string> {
    if (!request.body) throw badRequest('request body: is empty; send JSON', undefined, 'invalid_json')
    // The reader is let go without a cancel, so that the answer still finds its way back over the connection.
    const reader = wholeReader(request.body.getReader())
    if (Number(request.headers.get('content-length') ?? 0) > this.most)
      return await refuse(reader, THROWN_AWAY * this.most, tooLarge(this.most))
    const parts: Uint8Array[] = []
    let [bytes, counted] = [0, 0]
    let refusal: ApiError | undefined
    try {
      for (let next = await reader.read(); !next.done; next = await reader.read()) {
        bytes += next.value.length
        const more = Math.max(0, bytes - FREE_BYTES) - counted
        if (bytes > this.most) refusal = tooLarge(this.most)
        else if (this.#held + more > LARGEST_AT_ONCE * this.most) refusal = tooMany()
        if (refusal) break
        counted += more
        this.#held += more
        parts.push(next.value)
      }
      if (!refusal) return decoded(Buffer.concat(parts))
    } finally {
      this.#held -= counted
    }
    parts.length = 0
    return await refuse(reader, THROWN_AWAY * this.most - bytes, refusal)
  }
}

type PartReader = Pick<ReadableStreamDefaultReader<Uint8Array>, 'read'>

/** The same, where a body that ends early is the client's fault: it went away, or said another length than it sent. */
const wholeReader = (reader: PartReader): PartReader => ({
  read: () =>
    reader.read().catch((cause: unknown) => {
      throw new ApiError('request body: ended before all of it came; send it whole', {
        status: 400,
        code: 'incomplete_body',
        cause,
      })
    }),
})

/** Takes what is left, up to so many bytes, before the error is thrown. */
async function refuse(reader: PartReader, most: number, error: ApiError): Promise<never> {
  let bytes = 0
  while (bytes <= most) {
    const next = await reader.read()
    if (next.done) break
    bytes += next.value.length
  }
  throw error
}

function decoded(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw badRequest('request body: is not valid UTF-8', undefined, 'invalid_json')
  }
}

const tooLarge = (most: number) =>
  new ApiError(
    `request body: at most ${most} bytes are read; send less, or start the server with --max-body`,
    { status: 413, code: 'body_too_large' },
  )

const tooMany = () =>
  new ApiError('request body: too many large ones are being read; try again later', {
    status: 429,
    code: 'bodies_full',
    retryAfter: 1,
  })
