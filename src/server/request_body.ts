/** Reads the body of a request: JSON that a schema takes, field by field. */
import type { z } from 'zod'
import { isRecord, strictJson } from '../formats/json.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import { ApiError, badRequest } from './api_error.ts'
import type { BodyBytes } from './body_text.ts'
import { checkSupported } from './unsupported_fields.ts'

/** Deepest nesting of a body, keys of one object, of which `logit_bias` has the most, and bytes beside twice the text. */
const [DEPTH, KEYS, FREE_MEMORY] = [32, 2048, 1 << 23]

/**
 * The body as its schema gives it. Fields that are null count as left out, as clients send them.
 *
 * @throws ApiError 415 where it is no JSON by its header, 413 and 429 as `bodies.read` does, 400 for what it holds.
 */
export async function readRequest<Schema extends z.ZodType>(
  request: Request,
  schema: Schema,
  bodies: BodyBytes,
): Promise<z.output<Schema>> {
  const type = request.headers.get('content-type') ?? ''
  if (!/^application\/json\s*(?:;|$)/i.test(type))
    throw new ApiError(
      `content-type: application/json is needed, got ${printable(type) || 'none'}; send JSON`,
      {
        status: 415,
      },
    )
  return parseRequest(await bodies.read(request), schema)
}

function parseRequest<Schema extends z.ZodType>(text: string, schema: Schema): z.output<Schema> {
  let json: unknown
  try {
    json = strictJson('request body', text, {
      depth: DEPTH,
      keys: KEYS,
      memory: FREE_MEMORY + 2 * text.length,
    })
  } catch (error) {
    if (error instanceof FormatError) throw badRequest(error.message, undefined, 'invalid_json')
    throw error
  }
  if (!isRecord(json)) throw badRequest('request body: an object is needed', undefined, 'invalid_json')
  const given = Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null))
  const fields = checkSupported(given)
  checkCount(fields)
  const parsed = schema.safeParse(fields)
  if (parsed.success) return parsed.data
  throw schemaError(parsed.error, fields)
}

/** Values that are held against a schema, at most: each takes some microseconds, in which no other request is answered. */
const MOST_VALUES = 1 << 16

/** Counts the values of all fields but `prompt`, which may hold any number of token ids and is checked without a schema. */
function checkCount({ prompt: _, ...fields }: Record<string, unknown>): void {
  let count = 0
  const add = (value: unknown) => {
    if (value === null || typeof value !== 'object') return
    const inner: unknown[] = Array.isArray(value) ? value : Object.values(value)
    count += inner.length
    if (count > MOST_VALUES)
      throw badRequest(
        `request body: at most ${MOST_VALUES} values are taken beside a prompt, this has more; send fewer`,
        undefined,
        'invalid_value',
      )
    for (const each of inner) add(each)
  }
  add(fields)
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
