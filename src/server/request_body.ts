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
 * @throws ApiError 415 where it is no JSON, or packed, by its headers, 413 and 429 as `bodies.read` does, 400 for what it holds.
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
  const encoding = request.headers.get('content-encoding') ?? 'identity'
  if (encoding.toLowerCase() !== 'identity')
    throw new ApiError(`content-encoding: none is read, got ${printable(encoding)}; send JSON as it is`, {
      status: 415,
    })
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
  checkValues(given)
  const fields = checkSupported(given)
  const parsed = schema.safeParse(fields)
  if (parsed.success) return parsed.data
  throw schemaError(parsed.error, fields)
}

/** Values that are held against a schema, at most: each takes some microseconds, in which no other request is answered. */
const MOST_VALUES = 1 << 16

/**
 * Counts the values of all fields but `prompt`, which may hold any number of token ids and is checked without a schema. Fields
 * that a schema would pass over in silence are refused.
 */
function checkValues({ prompt: _, ...fields }: Record<string, unknown>): void {
  let count = 0
  const add = (value: unknown) => {
    if (value === null || typeof value !== 'object') return
    if (Object.hasOwn(value, '__proto__')) throw unknownField('__proto__')
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
  if (issue.code === 'unrecognized_keys') return unknownField(pathText([...issue.path, issue.keys[0]!]))
  if (issue.code === 'invalid_key') {
    const param = pathText(issue.path)
    const key = printable(JSON.stringify(issue.path.at(-1)), 60)
    return badRequest(`${printable(param)}: ${needOf(issue.issues[0]!)}, got ${key}`, param, 'invalid_value')
  }
  const param = pathText(issue.path)
  const value = issue.path.reduce<unknown>(
    (at, key) => (at === null || typeof at !== 'object' ? undefined : (at as never)[key]),
    fields,
  )
  const missing = value === undefined && issue.code !== 'custom'
  if (missing) return badRequest(`${printable(param)}: is missing`, param, 'missing_field')
  // JSON has numbers that are too large for one, and no text for what they become.
  const found = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? 'nothing')
  return badRequest(
    `${printable(param)}: ${needOf(issue)}, got ${printable(found, 60)}`,
    param,
    'invalid_value',
  )
}

const unknownField = (param: string): ApiError =>
  badRequest(`${printable(param)}: is no field of this endpoint; leave it out`, param, 'unknown_field')

const needs: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  boolean: 'true or false',
  object: 'an object',
  array: 'a list',
  never: 'an empty list',
}

/** What a field needs, also where its schema has no words of its own for it. */
function needOf(issue: z.core.$ZodIssue): string {
  if (!/^Invalid (?:input|option)/.test(issue.message)) return issue.message
  if (issue.code === 'invalid_type' && needs[issue.expected]) return `${needs[issue.expected]} is needed`
  if (issue.code === 'invalid_value') return `${issue.values.join(' or ')} is needed`
  return 'another value is needed'
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
