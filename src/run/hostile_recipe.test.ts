/** Recipes put together from the pieces of YAML and JSON, as text: options or a typed error, whatever they are. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { resolveOptions } from './compress_options.ts'
import { recipeOptions } from './recipe_options.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hostile-recipe-test-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Options of a file with this text, with every rule applied, or its error. */
function read(text: string, ending: 'yaml' | 'json'): unknown {
  const path = join(folder, `recipe.${ending}`)
  writeFileSync(path, text)
  try {
    return resolveOptions(recipeOptions(path))
  } catch (error) {
    return error
  }
}

function check(text: string, ending: 'yaml' | 'json'): void {
  const end = read(text, ending)
  if (!(end instanceof Error)) return
  expect(end, end.stack).toBeInstanceOf(OptionError)
  expect(end.message).not.toMatch(/[\u0000-\u001f\u202e]/)
  const fresh: Record<string, unknown> = {}
  for (const name of ['x', 'bits', 'seed', 'pare']) expect(fresh[name]).toBeUndefined()
}

const names = [
  'pare',
  'source',
  'target',
  'bits',
  'steps',
  'method',
  'only',
  'overrides',
  'match',
  'scheme',
  'keep',
  'limits',
  'maxMemory',
  'evaluation',
  'calibration',
  'files',
  'repeat',
  'times',
  'forEach',
  'name',
  'values',
  '__proto__',
  'constructor',
  '<<',
]
const scalars = [
  '1',
  '0',
  '-1',
  '3',
  '1e999',
  '.nan',
  '.inf',
  '0x1f',
  '0o7',
  'true',
  'no',
  '~',
  'rtn',
  'gptq',
  'Q4_K',
  'gguf',
  '600MB',
  `\${x}`,
  '../../etc/passwd',
  "'re:(a+)+$'",
  '"\\u001b[31m"',
  '"\\u202e"',
  '"\\0"',
  '<img src=x>',
  '2026-11-26',
  '!!str 1',
  '!!js/function x',
  '!include x',
  '*a',
  '*b',
  '&a x',
  '&b [1, 2]',
  '|\n    text',
  '>-\n    text',
]
const name = fc.constantFrom(...names)
const scalar = fc.constantFrom(...scalars)

test('lines of YAML in any order', () => {
  const line = fc
    .tuple(fc.nat(4), fc.constantFrom('', '- ', '- - ', '? '), name, fc.option(scalar, { nil: '' }))
    .map(([depth, dash, key, value]) => `${'  '.repeat(depth)}${dash}${key}: ${value}`)
  const text = fc.array(line, { maxLength: 12 }).map((lines) => `pare: 1\nsource: m\n${lines.join('\n')}\n`)
  fc.assert(
    fc.property(text, (each) => check(each, 'yaml')),
    { numRuns: 150 },
  )
})
test('tokens of YAML in any order', () => {
  const token = fc.oneof(
    name,
    scalar,
    fc.constantFrom(
      ': ',
      ', ',
      '[',
      ']',
      '{',
      '}',
      '- ',
      '\n',
      '\n  ',
      '&a ',
      '*a',
      '? ',
      '---\n',
      '...\n',
      '#',
      '\t',
      '"',
      "'",
      '%YAML 1.1\n',
      '\ufeff',
      '\u0000',
    ),
  )
  const text = fc.array(token, { maxLength: 40 }).map((tokens) => tokens.join(''))
  fc.assert(
    fc.property(text, fc.boolean(), (each, whole) =>
      check(whole ? `pare: 1\nsource: m\n${each}` : each, 'yaml'),
    ),
    { numRuns: 250 },
  )
})
test('tokens of JSON in any order, and JSON of any shape', () => {
  const token = fc.oneof(
    name.map((each) => JSON.stringify(each)),
    fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ':',
      ',',
      '1',
      '-',
      '1e999',
      'null',
      'true',
      '"',
      '\\',
      '\\u',
      ' ',
      '\n',
    ),
  )
  const soup = fc.array(token, { maxLength: 40 }).map((tokens) => tokens.join(''))
  const json = fc
    .dictionary(name, fc.jsonValue({ maxDepth: 4 }))
    .map((value) => JSON.stringify({ pare: 1, source: 'm', ...value }))
  fc.assert(
    fc.property(fc.oneof(soup, json), (each) => check(each, 'json')),
    { numRuns: 250 },
  )
})
test('aliases of aliases, at any width and depth', () => {
  const bomb = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 12 }), name, fc.boolean())
  fc.assert(
    fc.property(bomb, ([depth, width, key, maps]) => {
      const lines = Array.from({ length: depth }, (_, i) => {
        const inner = Array.from({ length: width }, (_, j) => (maps ? `k${j}: *a${i}` : `*a${i}`)).join(', ')
        return `x${i}: &a${i + 1} ${maps ? `{${inner}}` : `[${inner}]`}`
      })
      check(`pare: 1\nsource: m\nx: &a0 y\n${lines.join('\n')}\n${key}: *a${depth}\n`, 'yaml')
    }),
    { numRuns: 25 },
  )
})
