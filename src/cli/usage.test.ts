/** What may be typed, and what a mistake says. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { program } from './main.ts'
import { jsonError, pare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const model = join(folder, 'tiny.gguf')
const output = join(folder, 'out')
beforeAll(() => {
  writeTinyGguf(model)
})

/** Every command line that must be refused before anything is read, with a word of the message. */
const mistakes: [string, string[], RegExp][] = [
  ['an unknown command', ['shrink'], /unknown command/],
  ['an unknown option', ['plan', model, '--bit', '4'], /unknown option.*--bits/s],
  ['no model', ['plan'], /missing required argument/],
  ['no output', ['compress', model], /--output/],
  ['an unknown method', ['plan', model, '--method', 'nearest'], /rtn, gptq/],
  ['an unknown target', ['plan', model, '--target', 'tflite'], /gguf, gptq, pare/],
  ['an unknown scheme', ['plan', model, '--target', 'gguf', '--scheme', 'Q9_K'], /possible are/],
  ['a scheme without gguf', ['plan', model, '--scheme', 'Q4_K'], /--scheme.*--bits and --group-size/],
  ['a scheme for gptq', ['plan', model, '--target', 'gptq', '--scheme', 'Q4_K'], /--scheme/],
  ['a group size for gguf', ['plan', model, '--target', 'gguf', '--group-size', '32'], /--group-size/],
  ['symmetric codes for gguf', ['plan', model, '--target', 'gguf', '--symmetric'], /--symmetric/],
  ['bits that are no number', ['plan', model, '--bits', 'four'], /number from 1 on/],
  ['five bits', ['plan', model, '--bits', '5'], /2, 3, 4 and 8/],
  ['a group of 0', ['plan', model, '--group-size', '0'], /whole number from 1/],
  ['an order for rtn', ['plan', model, '--method', 'rtn', '--act-order'], /--act-order/],
  ['a negative seed', ['compress', model, '--output', output, '--seed', '-1'], /whole number/],
  ['no samples', ['compress', model, '--output', output, '--samples', '0'], /whole number/],
  ['a context of 1', ['eval', model, '--context', '1'], /whole number from 2/],
  ['a conversion without a target', ['convert', model, '--output', output], /--target/],
  ['a conversion to nowhere', ['convert', model, '--target', 'pare'], /--output/],
  [
    'a scheme of no file',
    ['convert', model, '--target', 'mlx', '--scheme', 'Q8_0', '--output', output],
    /GGUF files/,
  ],
  ['half a window', ['eval', model, '--windows', '0.5'], /whole number/],
  ['no thread', ['eval', model, '--threads', '0'], /whole number/],
  ['a temperature that is none', ['chat', model, '--temperature', '-1'], /from 0 to 100/],
  ['a port that is none', ['serve', model, '--port', '65536'], /from 0 to 65535/],
  ['a page in place of an origin', ['serve', model, '--cors', 'http://a.example/page'], /origin such as/],
  ['no place for a text', ['serve', model, '--parallel', '0'], /whole number from 1/],
  ['an empty key', ['serve', model, '--api-key', ''], /--api-key: is empty/],
  ['no experiment', ['reproduce'], /name an experiment/],
  ['an unknown experiment', ['reproduce', 'jaxprunr'], /the nearest is jaxpruner/],
  ['a seed twice', ['reproduce', 'gmp', '--seeds', '0,0'], /different whole numbers/],
  ['jobs that are none', ['reproduce', 'gmp', '--only', 'pictures'], /images or language/],
]
test.each(mistakes)('%s ends with exit code 2 and a sentence that helps', (_, args, message) => {
  const outcome = pare([...args, '--json'])
  expect(outcome.code).toBe(2)
  expect(outcome.stdout).toBe('')
  expect(jsonError(outcome).message).toMatch(message)
  expect(jsonError(outcome).exitCode).toBe(2)
  expect(existsSync(output)).toBe(false)
})
test('without --json a mistake is a line for people and names the way to the help', () => {
  const { code, stderr } = pare(['plan', model, '--bit', '4'])
  expect(code).toBe(2)
  expect(stderr).toMatch(/unknown option '--bit'/)
  expect(stderr).toMatch(/--help/)
})
test('no command at all shows the help and ends with exit code 2', () => {
  const { code, stdout, stderr } = pare([])
  expect([code, stdout]).toEqual([2, ''])
  expect(stderr).toMatch(/Exit codes:/)
})
test('--bits for gguf names the types that are nearest', () => {
  for (const [bits, near] of [
    ['3', 'Q3_K'],
    ['4', 'Q4_K'],
    ['8', 'Q8_0'],
  ] as const) {
    const outcome = pare([
      'compress',
      model,
      '--target',
      'gguf',
      '--bits',
      bits,
      '--output',
      output,
      '--json',
    ])
    expect(outcome.code).toBe(2)
    expect(jsonError(outcome).message).toContain(near)
    expect(jsonError(outcome).facts.near).toContain(near)
  }
})
test('an output that holds files is refused before the model is read', () => {
  const full = join(folder, 'full')
  mkdirSync(full)
  writeFileSync(join(full, 'notes.txt'), 'mine')
  const outcome = pare(['compress', join(folder, 'missing.gguf'), '--output', full, '--json'])
  expect(outcome.code).toBe(2)
  expect(jsonError(outcome).message).toContain('--overwrite')
})
test('a model that is not there ends with exit code 6 and says how sources are written', () => {
  for (const command of ['plan', 'inspect', 'pull']) {
    const outcome = pare([command, join(folder, 'missing.gguf'), '--json'])
    expect(outcome.code).toBe(6)
    expect(jsonError(outcome).message).toMatch(/pypi:NAME==VERSION/)
  }
})

const commands = program().commands
test('the commands are plan, compress, convert, train, eval, verify, imatrix, chat, serve, inspect, pull, reproduce, doctor and demo', () => {
  expect(commands.map((command) => command.name())).toEqual([
    'plan',
    'compress',
    'convert',
    'train',
    'eval',
    'verify',
    'imatrix',
    'chat',
    'serve',
    'inspect',
    'pull',
    'reproduce',
    'doctor',
    'demo',
  ])
})
test('every command takes --json, and its help says what every option is for', () => {
  for (const command of commands) {
    expect(command.options.map(({ long }) => long)).toContain('--json')
    for (const { long, description } of command.options)
      expect(description.length, `${command.name()} ${long}`).toBeGreaterThan(10)
  }
})
test('every option of compress with a value names its default', () => {
  const compress = commands.find((command) => command.name() === 'compress')!
  for (const { long, description, required } of compress.options) {
    if (required && long !== '--output') expect(description, long!).toMatch(/\(default: /)
  }
})
test('the help of compress has its options under headings, and goes to stdout', () => {
  const { code, stdout, stderr } = pare(['compress', '--help'])
  expect([code, stderr]).toEqual([0, ''])
  const headings = [...stdout.matchAll(/^(\w+):$/gm)].map(([, heading]) => heading)
  expect(headings).toEqual([
    'Arguments',
    'Result',
    'Method',
    'Calibration',
    'Evaluation',
    'Running',
    'Examples',
  ])
})
test('--version is that of package.json', () => {
  expect(pare(['--version']).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})
