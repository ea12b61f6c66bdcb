/** Reads a recipe from a YAML or JSON file that nobody vouches for. */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { extname } from 'node:path'
import { strictJson } from '../formats/json.ts'
import { OptionError, PareError, printable } from '../tensor/errors.ts'
import { type Path, pathText } from './option_fields.ts'
import type { Place } from './recipe_steps.ts'
import { deepestValue, parseYaml } from './yaml_value.ts'

/** Bytes of the largest recipe. */
export const largestRecipe = 1 << 18

/**
 * What a file says, not checked against the schema yet, and where each path of it stands.
 *
 * @throws OptionError for a file that cannot be read, is too large, or is no YAML or JSON.
 */
export function readRecipe(path: string): { value: unknown; place: Place } {
  const name = printable(path, 400)
  const kind = extname(path).toLowerCase()
  if (!['.json', '.yaml', '.yml'].includes(kind))
    throw new OptionError(`${name}: a recipe ends in .yaml, .yml or .json; rename the file`)
  const text = readText(path, name)
  if (kind !== '.json') {
    const { value, lineOf } = parseYaml(name, text)
    return { value, place: placeIn(name, lineOf) }
  }
  let value: unknown
  try {
    value = strictJson(path, text, { depth: deepestValue })
  } catch (error) {
    if (!(error instanceof PareError)) throw error
    throw new OptionError(error.message, { code: error.code, facts: error.facts, cause: error })
  }
  return { value, place: placeIn(name, jsonLines(name, text)) }
}

/** JSON is YAML too, nearly always: where it is not, lines are not known. */
function jsonLines(name: string, text: string): (path: Path) => number | undefined {
  try {
    return parseYaml(name, text).lineOf
  } catch {
    return () => undefined
  }
}

const placeIn =
  (name: string, lineOf: (path: Path) => number | undefined): Place =>
  (path, key) => {
    const line = lineOf(key === undefined ? path : [...path, key])
    return [line === undefined ? name : `${name}:${line}`, ...(path.length > 0 ? [pathText(path)] : [])].join(
      ': ',
    )
  }

function readText(path: string, name: string): string {
  let bytes: Uint8Array
  try {
    // Asked before opening: to open a named pipe would wait for a writer.
    if (!statSync(path).isFile()) throw new OptionError(`${name}: a recipe is a file, this is something else`)
    bytes = readAtMost(path, name)
  } catch (cause) {
    if (cause instanceof OptionError) throw cause
    const { code } = cause as NodeJS.ErrnoException
    throw new OptionError(
      `${name}: the recipe cannot be read (${code}); check the path and its permissions`,
      {
        code: 'PARE_E_CANNOT_READ',
        cause,
      },
    )
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new OptionError(`${name}: a recipe is text in UTF-8, this is not; save it as UTF-8`, { cause })
  }
}

function readAtMost(path: string, name: string): Uint8Array {
  const descriptor = openSync(path, 'r')
  try {
    const { size } = fstatSync(descriptor)
    if (size > largestRecipe)
      throw new OptionError(
        `${name}: a recipe has at most ${largestRecipe} bytes, this has ${size}; is it one?`,
        {
          code: 'PARE_E_RECIPE_SIZE',
          facts: { bytes: size, most: largestRecipe },
        },
      )
    const bytes = new Uint8Array(size)
    return bytes.subarray(0, readSync(descriptor, bytes))
  } finally {
    closeSync(descriptor)
  }
}
