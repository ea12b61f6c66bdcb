/** Reads the body of a request: JSON that a schema takes, field by field. */
import type { z } from 'zod'
import { isRecord, strictJson } from '../formats/json.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import { ApiError, badRequest } from './api_error.ts'
import { checkSupported } from './unsupported_fields.ts'

/** Deepest nesting of a body. */
const DEPTH = 32

/**
 * The body as its schema gives it. Fields that are null count as left out, as clients send them.
 *
 * @param most bytes at most
 * @throws ApiError 415 where it is no JSON by its header, 413 where it is longer, 400 for what it holds.
 */
export async function readRequest<Schema extends z.ZodType>(
  request: Request,
  schema: Schema,
  most: number,
): Promise<z.output<Schema>> {
  const type = request.headers.get('content-type') ?? ''
  if (!/^application\/json\s*(?:;|$)/i.test(type))
    throw new ApiError(
      `content-type: application/json is needed, got ${printable(type) || 'none'}; send JSON`,
      {
        status: 415,
      },
    )
  return parseRequest(await readText(request, most), schema)
}

function parseRequest<Schema extends z.ZodType>(text: string, schema: Schema): z.output<Schema> {
  let json: unknown
  try {
    json = strictJson('request body', text, { depth: DEPTH })
  } catch (error) {
    if (error instanceof FormatError) throw badRequest(error.message, undefined, 'invalid_json')
    throw error
  }
  if (!isRecord(json)) throw badRequest('request body: an object is needed', undefined, 'invalid_json')
  const given = Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null))
  const fields = checkSupported(given)
  const parsed = schema.safeParse(fields)
  if (parsed.success) return parsed.data
  throw schemaError(parsed.error, fields)
}

/** The first fault, by the name of its field. */
function schemaError({ issues }: z.ZodError, fields: unknown): ApiError {
  const issue = deepest(issues[0]!)
  if (issue.code === 'unrecognized_keys') {
    const param = pathText([...issue.path, issue.keys[0]!])
    return badRequest(
      `${printable(param)}: is no field of this endpoint; leave it out`,
      param,
      'unknown_field',
    )
  }
  const param = pathText(issue.path)
  const value = issue.path.reduce<unknown>(
    (at, key) => (at === null || typeof at !== 'object' ? undefined : (at as never)[key]),
    fields,
  )
  const missing = value === undefined && issue.code !== 'custom'
  if (missing) return badRequest(`${printable(param)}: is missing`, param, 'missing_field')
  const found = printable(JSON.stringify(value) ?? 'nothing', 60)
  return badRequest(`${printable(param)}: ${issue.message}, got ${found}`, param, 'invalid_value')
}

/** Of the ways that a union offers, the fault of the one that fits farthest. */
function deepest(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return issue
  const inner = issue.errors.map(([first]) => first).filter((first) => first !== undefined)
  const best = inner.reduce((a, b) => (b.path.length > a.path.length ? b : a), inner[0]!)
  if (best === undefined || best.path.length === 0) return issue
  return deepest({ ...best, path: [...issue.path, ...best.path] })
}

/** `messages[0].content` */
const pathText = (path: readonly PropertyKey[]): string =>
  path.reduce<string>(
    (text, key) =>
      typeof key === 'number' ? `${text}[${key}]` : text === '' ? String(key) : `${text}.${String(key)}`,
    '',
  )

const tooLarge = (most: number) =>
  new ApiError(
    `request body: at most ${most} bytes are read; send less, or start the server with --max-body`,
    {
      status: 413,
      code: 'body_too_large',
    },
  )

/** The body as text; reading ends where it is too long. */
async function readText(request: Request, most: number): Promise<string> {
  if (Number(request.headers.get('content-length') ?? 0) > most) throw tooLarge(most)
  if (!request.body) throw badRequest('request body: is empty; send JSON', undefined, 'invalid_json')
  const parts: Uint8Array[] = []
  let bytes = 0
  // The reader is let go without a cancel, so that the answer still finds its way back over the connection.
  const reader = request.body.getReader()
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    bytes += next.value.length
    if (bytes > most) throw tooLarge(most)
    parts.push(next.value)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts))
  } catch {
    throw badRequest('request body: is not valid UTF-8', undefined, 'invalid_json')
  }
}
