/** Recipes that cannot be used: an OptionError that says where, with bounded memory and time. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { readRecipe } from './recipe_file.ts'
import { fromRecipe } from './recipe_options.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-recipe-'))
afterAll(() => rmSync(folder, { recursive: true }))
let count = 0
function written(text: string | Uint8Array, ending = 'yaml'): string {
  const path = join(folder, `recipe-${++count}.${ending}`)
  writeFileSync(path, text)
  return path
}
const read = (text: string | Uint8Array, ending = 'yaml') => fromRecipe(written(text, ending))
/** The message without the folder. */
function failure(text: string | Uint8Array, ending = 'yaml'): string {
  try {
    read(text, ending)
  } catch (error) {
    expect(error).toBeInstanceOf(OptionError)
    expect((error as OptionError).exitCode).toBe(2)
    return (error as Error).message.replace(/^.*recipe-\d+\.(yaml|json|yml)/, 'FILE')
  }
  throw new Error('the recipe was read')
}

const yaml = `pare: 1
source: model.gguf
target: gguf
steps:
  - method: gptq
    scheme: Q3_K
    only: ['model.layers.*.mlp.*']
overrides:
  - match: 're:^model\\..*down_proj'
    scheme: Q5_K
evaluation: false
limits: { maxMemory: 600MB, targetSize: 60MiB, maxKl: 0.3, targetBpw: 3.25 }
`
const json = {
  pare: 1,
  source: 'model.gguf',
  target: 'gguf',
  steps: [{ method: 'gptq', scheme: 'Q3_K', only: ['model.layers.*.mlp.*'] }],
  overrides: [{ match: 're:^model\\..*down_proj', scheme: 'Q5_K' }],
  evaluation: false,
  limits: { maxMemory: 600e6, targetSize: 60 * 2 ** 20, maxKl: 0.3, targetBpw: 3.25 },
}
test('YAML, JSON in any layout and an object give the same options', () => {
  const withoutPlaces = (value: object) =>
    JSON.parse(JSON.stringify(value, (key, part) => (key === 'at' ? undefined : part)))
  const expected = {
    source: 'model.gguf',
    output: '',
    target: 'gguf',
    steps: json.steps,
    overrides: json.overrides,
    evaluate: false,
    limits: json.limits,
  }
  expect(withoutPlaces(read(yaml))).toEqual(expected)
  expect(withoutPlaces(read(yaml, 'yml'))).toEqual(expected)
  for (const indent of [undefined, 2, '\t'])
    expect(withoutPlaces(read(JSON.stringify(json, null, indent), 'json'))).toEqual(expected)
  expect(withoutPlaces(fromRecipe(json as never))).toEqual(expected)
  expect(withoutPlaces(read(`\ufeff${yaml}`))).toEqual(expected)
})

describe('what is wrong, and where', () => {
  test.each<[string, string, RegExp]>([
    [
      'an unknown field',
      'pare: 1\nsteps:\n  - method: rtn\n    grupSize: 3\n',
      /^FILE:3: steps\[0\]: there is no field grupSize; the nearest is groupSize/,
    ],
    [
      'an unknown field at the top',
      'pare: 1\nsorce: x\n',
      /^FILE:2: there is no field sorce; the nearest is source/,
    ],
    [
      'a wrong type',
      'pare: 1\nsteps:\n  - bits: four\n',
      /^FILE:3: steps\[0\]\.bits: a number from 1 on is needed, got "four"/,
    ],
    [
      'a wrong type inside of an alternative',
      'pare: 1\nevaluation:\n  windows: x\n',
      /^FILE:3: evaluation\.windows: a whole number .* got "x"/,
    ],
    [
      'an unknown field inside of an alternative',
      'pare: 1\nevaluation:\n  window: 1\n',
      /^FILE:3: evaluation: there is no field window; the nearest is windows/,
    ],
    [
      'evaluation: true',
      'pare: 1\nevaluation: true\n',
      /evaluation: false or a map of .* is needed, got true/,
    ],
    [
      'no version',
      'source: x\n',
      /^FILE:1: pare: the version of the recipe, 1 for this Pare .* is needed, got nothing/,
    ],
    ['another version', 'pare: 2\n', /^FILE:1: pare: .*use the Pare that the recipe is for.* got 2/],
    ['an empty file', '', /^FILE(:1)?: a map of pare, source, .* is needed, got nothing/],
    ['a list', '- 1\n', /a map of .* is needed, got a list of 1/],
    [
      'a method that is not there',
      'pare: 1\nsteps: [{method: nearest}]\n',
      /steps\[0\]\.method: one of .*rtn, gptq, .* is needed, got "nearest"/,
    ],
    ['no step', 'pare: 1\nsteps: []\n', /steps: a list of one step or more/],
    [
      'steps that are a map',
      'pare: 1\nsteps: {method: rtn}\n',
      /steps: a list of one step or more is needed, got a map/,
    ],
    [
      'an empty pattern',
      "pare: 1\noverrides: [{match: '', keep: true}]\n",
      /overrides\[0\]\.match: a pattern/,
    ],
    [
      'a size in megabits',
      'pare: 1\nlimits: {maxMemory: 600Mb}\n',
      /limits\.maxMemory: a number of bytes or a size such as 600MB .* got "600Mb"/,
    ],
    ['a size of 0', 'pare: 1\nlimits: {targetSize: 0}\n', /limits\.targetSize: .* got 0/],
    ['a KL below 0', 'pare: 1\nlimits: {maxKl: -1}\n', /limits\.maxKl: a number of nats above 0/],
    [
      'a seed that is no number',
      'pare: 1\nseed: .nan\n',
      /seed: a whole number from 0 on is needed, got NaN/,
    ],
    ['a field twice', 'pare: 1\nseed: 1\nseed: 2\n', /^FILE:3: the field seed stands twice/],
    ['a tag', 'pare: 1\nsource: !include secret.txt\n', /^FILE:2: is no plain YAML/],
    ['a tag of YAML 1.1', 'pare: 1\nsource: !!binary aGk=\n', /is no plain YAML/],
    ['YAML that is none', 'pare: 1\nsteps: [\n', /^FILE:\d: is no plain YAML/],
    ['a tab as indentation', 'pare: 1\nsteps:\n\t- method: rtn\n', /is no plain YAML/],
    ['two documents', 'pare: 1\n---\npare: 1\n', /is no plain YAML/],
    ['an alias of nothing', 'pare: 1\nsource: *nothing\n', /is no plain YAML|source: a path/],
    ['a map as a name', 'pare: 1\n? {a: 1}\n: 2\n', /has a name of its own/],
    ['a merge key', 'pare: 1\n<<: {seed: 1}\n', /there is no field <</],
    ['yes and no', 'pare: 1\nfallback: yes\n', /fallback: true or false is needed, got "yes"/],
    [
      'a control character in a name',
      'pare: 1\n"se\\u001b[31med": 1\n',
      /there is no field se\\u\{1b\}\[31med/,
    ],
    ['the character 0 in a path', 'pare: 1\nsource: "a\\0b"\n', /source: .*without the character 0/],
  ])('%s', (_, text, message) => {
    const found = failure(text)
    expect(found).toMatch(message)
    expect(found).not.toContain('\u001b')
  })
  test('JSON has lines where it can be read as YAML', () => {
    expect(failure('{\n  "pare": 1,\n  "seed": "x"\n}', 'json')).toMatch(/^FILE:3: seed: a whole number/)
    expect(failure('{"pare": 1, "pare": 1}', 'json')).toMatch(/stands twice/)
    expect(failure('{"pare": 1', 'json')).toMatch(/is not valid JSON/)
    expect(failure('pare: 1', 'json')).toMatch(/is not valid JSON/)
  })
  test('names of prototypes are unknown fields, and change nothing', () => {
    for (const name of ['__proto__', 'constructor', 'toString']) {
      expect(failure(`pare: 1\n${name}: {seed: 7}\n`)).toContain(`there is no field ${name}`)
      expect(failure(`{"pare": 1, "${name}": {"seed": 7}}`, 'json')).toContain(`there is no field ${name}`)
      expect(failure(`pare: 1\nsteps: [{${name}: {bits: 2}}]\n`)).toContain(`there is no field ${name}`)
    }
    expect(({} as { seed?: number }).seed).toBeUndefined()
  })
  test('a file of another kind, another ending, a folder, or none', () => {
    mkdirSync(join(folder, 'folder.yaml'))
    for (const path of [join(folder, 'none.yaml'), join(folder, 'folder.yaml'), written('pare: 1', 'txt')])
      expect(() => readRecipe(path)).toThrow(OptionError)
    expect(failure(Uint8Array.of(0x70, 0xff, 0xfe))).toMatch(/UTF-8/)
  })
})

describe('recipes that mean harm', () => {
  const soon = (body: () => void) => {
    const started = performance.now()
    body()
    // Each takes well under a second alone; the rest is room for a busy machine.
    expect(performance.now() - started).toBeLessThan(20_000)
  }
  test('10 MB are refused before they are read', () => {
    soon(() => expect(failure('#'.repeat(10_000_000))).toMatch(/at most 262144 bytes, this has 10000000/))
  })
  test('aliases that stand for billions of values', () => {
    const lines = Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}, *a${i}]`)
    soon(() =>
      expect(failure(`pare: 1\na0: &a0 [x]\n${lines.join('\n')}\n`)).toMatch(/more than 50000 values/),
    )
  })
  test('an alias of what it stands in', () => {
    soon(() =>
      expect(failure('pare: 1\nsteps: &a [*a, *a]\n')).toMatch(/more than 50000 values|nests deeper/),
    )
    soon(() => expect(failure('pare: 1\nsteps: &a [*a]\n')).toMatch(/nests deeper than 64/))
  })
  test('few aliases are as good as what they stand for', () => {
    const { overrides } = read('pare: 1\noverrides: [{match: a, scheme: &s Q5_K}, {match: b, scheme: *s}]\n')
    expect(overrides!.map(({ scheme }) => scheme)).toEqual(['Q5_K', 'Q5_K'])
  })
  test.each([
    ['lists', '['.repeat(100_000)],
    ['lists that end', `pare: 1\nsteps: ${'['.repeat(2000)}${']'.repeat(2000)}\n`],
    ['maps', `pare: 1\nsteps: ${'{a: '.repeat(2000)}1${'}'.repeat(2000)}\n`],
    ['dashes', `pare: 1\nsteps:\n  ${'- '.repeat(5000)}1\n`],
  ])('deep nesting of %s', (_, text) => {
    soon(() => expect(failure(text)).toMatch(/nests deeper|Nested mappings|at the end/))
  })
  test('deep nesting of JSON', () => {
    soon(() => expect(failure(`${'['.repeat(100_000)}`, 'json')).toMatch(/nests deeper/))
  })
  test('many fields', () => {
    const fields = Array.from({ length: 20_000 }, (_, i) => `f${i}: 1`).join('\n')
    soon(() => expect(failure(`pare: 1\n${fields}\n`)).toMatch(/there is no field f0/))
  })
  test('a step that is repeated without end', () => {
    let steps = '[{method: rtn}]'
    for (let i = 0; i < 8; i++) steps = `[{repeat: {times: 256, steps: ${steps}}}]`
    soon(() => expect(failure(`pare: 1\nsteps: ${steps}\n`)).toMatch(/at most 256 steps/))
  })
  test('any value in any place ends in an OptionError or in options', () => {
    const places = [
      'source',
      'output',
      'overwrite',
      'target',
      'seed',
      'embedding',
      'activations',
      'fallback',
      'trueSequential',
      'calibration',
      'evaluation',
      'steps',
      'overrides',
      'limits',
      'scratch',
      'offline',
      'probe',
      'threads',
      'pare',
    ]
    const inner = [
      'method',
      'bits',
      'groupSize',
      'only',
      'match',
      'keep',
      'files',
      'maxMemory',
      'repeat',
      'times',
      'forEach',
      'name',
      'values',
      'steps',
    ]
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        fc.constantFrom<unknown>(
          null,
          true,
          false,
          0,
          -1,
          3,
          2.5,
          Number.NaN,
          Number.POSITIVE_INFINITY,
          '',
          'rtn',
          'Q4_K',
          '600MB',
          `\${x}`,
        ),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom(...inner, '__proto__', 'x'), tie('value'), { maxKeys: 4 }),
      ),
    }))
    fc.assert(
      fc.property(fc.constantFrom(...places), value, (place, anything) => {
        try {
          fromRecipe({ pare: 1, source: 'm', [place]: anything } as never)
        } catch (error) {
          expect(error).toBeInstanceOf(OptionError)
          expect((error as Error).message).toMatch(/[;,] | needed/)
        }
      }),
      { numRuns: 2000 },
    )
  })
})
test('a field that does not exist is told with its own line, and one of the steps where it belongs', () => {
  const path = join(folder, 'misplaced.yaml')
  writeFileSync(path, 'pare: 1\nsource: a\nbits: 4\n')
  expect(() => fromRecipe(path)).toThrow(`${path}:3: there is no field bits here; it belongs into steps`)
  writeFileSync(path, 'pare: 1\nsource: a\n\nsamplez: 4\n')
  expect(() => fromRecipe(path)).toThrow(`${path}:4: there is no field samplez; the nearest is`)
})
