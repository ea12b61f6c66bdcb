/** YAML as plain values: no tags, few aliases, no key twice, and a line for every path. */
import { createRequire } from 'node:module'
import type { Node } from 'yaml'
import { OptionError, printable } from '../tensor/errors.ts'
import type { Path } from './option_fields.ts'

/** Most commands read no recipe, and the package takes as long to load as all of Pare. */
const loadYaml = (): typeof import('yaml') => createRequire(import.meta.url)('yaml')

/** Maps and lists inside of each other. */
export const deepestValue = 64
/** Values of one file, each alias counted as often as it stands there. */
const mostValues = 50_000

/**
 * The value of one YAML document (1.2, core schema). `lineOf` counts from 1 and takes the nearest part of a path that
 * the text has.
 *
 * @throws OptionError, which begins with `name` and the line, for anything that is not plain YAML.
 */
export function parseYaml(
  name: string,
  text: string,
): { value: unknown; lineOf: (path: Path) => number | undefined } {
  const { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } = loadYaml()
  const lines = new LineCounter()
  const failed = (what: string, offset: number | undefined, cause?: unknown) =>
    new OptionError(`${name}${offset === undefined ? '' : `:${lines.linePos(offset).line}`}: ${what}`, {
      code: 'PARE_E_YAML',
      ...(cause === undefined ? {} : { cause }),
    })
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    resolveKnownTags: false,
    // Keys are compared below, in one pass.
    uniqueKeys: false,
    prettyErrors: false,
    lineCounter: lines,
  })
  const [problem] = [...document.errors, ...document.warnings]
  // The package meets its own end of the stack.
  if (problem?.message.includes('call stack'))
    throw failed(`nests deeper than ${deepestValue} levels; a recipe is flatter`, problem.pos[0], problem)
  if (problem) throw failed(`is no plain YAML (${printable(problem.message)})`, problem.pos[0], problem)

  const anchors = new Map<string, Node>()
  let aliases = 0
  const places = new Map<string, number>()
  let values = 0
  const read = (node: Node | null, path: Path): unknown => {
    values += 1
    const offset = node?.range?.[0]
    if (values > mostValues)
      throw failed(
        `holds more than ${mostValues} values, each alias with all it stands for; write less`,
        offset,
      )
    if (path.length > deepestValue)
      throw failed(`nests deeper than ${deepestValue} levels; a recipe is flatter`, offset)
    if (offset !== undefined) places.set(JSON.stringify(path), offset)
    if (isAlias(node)) {
      aliases += 1
      const value = read(anchors.get(node.source) ?? null, path)
      aliases -= 1
      return value
    }
    // What stands behind an alias was seen before, where it was written.
    if (node && 'anchor' in node && node.anchor !== undefined && aliases === 0) anchors.set(node.anchor, node)
    if (isScalar(node)) return node.value
    if (isSeq(node)) return node.items.map((item, i) => read(item as Node, [...path, i]))
    if (!isMap(node)) return null
    const entries = new Map<string, unknown>()
    for (const { key, value } of node.items) {
      const text = isScalar(key) ? String(key.value) : undefined
      const where = (key as Node | null)?.range?.[0]
      if (text === undefined) throw failed('a field has a name of its own; maps and lists are none', where)
      if (entries.has(text)) throw failed(`the field ${printable(text)} stands twice in one map`, where)
      entries.set(text, read(value as Node | null, [...path, text]))
      if (where !== undefined) places.set(JSON.stringify([...path, text]), where)
    }
    return Object.fromEntries(entries)
  }
  const value = read(document.contents as Node | null, [])
  const lineOf = (path: Path): number | undefined => {
    for (let length = path.length; length >= 0; length--) {
      const offset = places.get(JSON.stringify(path.slice(0, length)))
      if (offset !== undefined) return lines.linePos(offset).line
    }
    return undefined
  }
  return { value, lineOf }
}
