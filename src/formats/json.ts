/** JSON of files nobody vouches for: nesting and memory are limited, and a key may stand only once in an object. */
import { FormatError, printable } from '../tensor/errors.ts'

export interface JsonLimits {
  /** Deepest nesting of objects and arrays. @default 64 */
  depth?: number
  /** Bytes of memory that the values may take, by a count before any is made. @default 48 MiB and twice the text */
  memory?: number
  /** Keys of one object. @default no limit of their own */
  keys?: number
}

/**
 * Parses JSON text strictly; `name` is how messages call it.
 *
 * @throws FormatError if the text is not JSON, nests too deeply, repeats a key, or would take many times its size in memory.
 * @example strictJson('index.json', '{"a":1}')
 */
export function strictJson(name: string, text: string, limits: JsonLimits = {}): unknown {
  checkNesting(name, text, limits)
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new FormatError(
      `${printable(name)}: is not valid JSON (${printable((cause as Error).message)}); it is damaged`,
      { code: 'PARE_E_JSON', facts: { path: name }, cause },
    )
  }
}

/** An object of JSON, not an array and not null. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Bytes of memory that values may take beside twice the text. */
const FREE_MEMORY = 48 * 2 ** 20
/** About what V8 takes for an object or list, for a key beside its text, a text beside its characters, another value. */
const [PER_CONTAINER, PER_KEY, PER_TEXT, PER_VALUE] = [64, 48, 24, 8]

/** Walks over strings and brackets only; the grammar itself is left to `JSON.parse`. */
function checkNesting(
  name: string,
  text: string,
  {
    depth = 64,
    memory: most = FREE_MEMORY + 2 * text.length,
    keys: mostKeys = Number.POSITIVE_INFINITY,
  }: JsonLimits,
): void {
  /** Keys of each open object; undefined stands for an open array. */
  const open: (Set<string> | undefined)[] = []
  let keyExpected = false
  let memory = 0
  const keep = (bytes: number) => {
    memory += bytes
    if (memory > most)
      throw new FormatError(
        `${printable(name)}: JSON of ${text.length} characters would take more than ${most} bytes of memory; it is damaged`,
        { code: 'PARE_E_JSON', facts: { path: name, characters: text.length, most } },
      )
  }
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (c === '"') {
      const end = closingQuote(text, i)
      const keys = open.at(-1)
      keep(PER_TEXT + end - i)
      if (keyExpected && keys) {
        keep(PER_KEY)
        const key = decodeString(text.slice(i, end + 1))
        if (keys.has(key))
          throw new FormatError(`${printable(name)}: key "${printable(key)}" stands twice in one object`, {
            code: 'PARE_E_DUPLICATE',
            facts: { path: name, key },
          })
        if (keys.size >= mostKeys)
          throw new FormatError(
            `${printable(name)}: JSON with more than ${mostKeys} keys in one object is not read; it is damaged`,
            { code: 'PARE_E_JSON', facts: { path: name, most: mostKeys } },
          )
        keys.add(key)
        keyExpected = false
      }
      i = end
    } else if (c === '{' || c === '[') {
      if (open.length >= depth)
        throw new FormatError(`${printable(name)}: JSON nests deeper than ${depth} levels; it is damaged`, {
          code: 'PARE_E_JSON',
          facts: { path: name, depth },
        })
      keep(PER_CONTAINER)
      open.push(c === '{' ? new Set() : undefined)
      keyExpected = c === '{'
    } else if (c === '}' || c === ']') {
      open.pop()
      keyExpected = false
    } else if (c === ',') {
      keep(PER_VALUE)
      keyExpected = open.at(-1) !== undefined
    }
  }
}

/** Index of the quote that closes the string opened at `start`, or the last index of an unclosed text. */
function closingQuote(text: string, start: number): number {
  for (let i = text.indexOf('"', start + 1); i >= 0; i = text.indexOf('"', i + 1)) {
    let backslashes = 0
    while (text[i - 1 - backslashes] === '\\') backslashes++
    if (backslashes % 2 === 0) return i
  }
  return text.length - 1
}

/** The text of a JSON string; one that JSON does not allow stays as it is and fails in the parse that follows. */
function decodeString(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1)
  try {
    return JSON.parse(quoted)
  } catch {
    return quoted
  }
}
