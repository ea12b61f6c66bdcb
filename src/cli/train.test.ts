/** `pare train` as a process: what it writes, what a mistake says, and Ctrl-C. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { writeBars } from '../run/training/training_recipes.suite.ts'
import { jsonError, pare, startPare, temporaryFolder } from './pare_process.suite.ts'

const folder = temporaryFolder()
const recipe = join(folder, 'bars.yaml')
const empty = join(folder, 'empty.yaml')
beforeAll(() => {
  const { images, labels } = writeBars(folder)
  writeFileSync(empty, 'pare: 1\n')
  writeFileSync(
    recipe,
    `pare: 1
train:
  model: { family: resnet, depth: 8, width: 4 }
  data: { kind: idx, images: ${images}, labels: ${labels} }
  batch: 12
  epochs: 3
  optimiser: { name: sgd, rate: 0.05, momentum: 0.9 }
`,
  )
})

test('it trains, tells how good the model is, and says the second time that it is done', () => {
  const output = join(folder, 'bars')
  const { code, stdout, stderr } = pare(['train', recipe, '--output', output])
  expect([code, stderr.includes('step 27/27')]).toEqual([0, true])
  expect(stdout).toMatch(
    /^model {7}resnet, [\d,]+ weights\ntraining {4}27 steps, 324 images\nheld out {4}[\d.]+% right/,
  )
  const again = pare(['train', recipe, '--output', output, '--json'])
  expect(again.stderr).toMatch(/is finished; --restart/)
  expect(JSON.parse(again.stdout)).toEqual(JSON.parse(readFileSync(join(output, 'training.json'), 'utf8')))
})
test('flags win over the recipe, and --quiet says nothing', () => {
  const output = join(folder, 'short')
  const { stderr, stdout } = pare([
    'train',
    recipe,
    '--output',
    output,
    '--steps',
    '2',
    '--seed',
    '7',
    '--json',
    '--quiet',
  ])
  expect(stderr).toBe('')
  expect(JSON.parse(stdout)).toMatchObject({ steps: 2, seed: 7, units: 24 })
})
test('a finished training with another seed is refused with exit code 3, and a restart replaces it', () => {
  const args = ['train', recipe, '--output', join(folder, 'short'), '--steps', '2', '--json']
  const refused = pare([...args, '--seed', '8'])
  expect([refused.code, refused.stdout]).toEqual([3, ''])
  expect(jsonError(refused)).toMatchObject({ code: 'PARE_E_OTHER_RUN', facts: { fields: ['seed'] } })
  expect(JSON.parse(pare([...args, '--seed', '8', '--restart']).stdout)).toMatchObject({ seed: 8 })
})
test.each([
  ['no recipe', [], /missing required argument/],
  ['a recipe that is not there', [join(folder, 'none.yaml')], /none\.yaml: the recipe cannot be read/],
  [
    'a recipe without a training',
    [empty],
    /empty\.yaml:1: train: a map of model, data, .* is needed, got nothing/,
  ],
  ['no output', [recipe], /the folder for the result is needed.*--output/],
  ['no step', [recipe, '--output', join(folder, 'x'), '--steps', '0'], /whole number from 1/],
  ['no thread', [recipe, '--output', join(folder, 'x'), '--threads', '0'], /whole number from 1/],
] as const)('%s ends with exit code 2 and a sentence that helps', (_, args, message) => {
  const outcome = pare(['train', ...args, '--json'])
  expect([outcome.code, outcome.stdout]).toEqual([2, ''])
  expect(jsonError(outcome).message).toMatch(message)
  expect(existsSync(join(folder, 'x'))).toBe(false)
})
test('a misspelt field is named with its line and the nearest one', () => {
  const wrong = join(folder, 'wrong.yaml')
  writeFileSync(wrong, readFileSync(recipe, 'utf8').replace('momentum', 'momentun'))
  const { exitCode, message } = jsonError(pare(['train', wrong, '--output', join(folder, 'x'), '--json']))
  expect(exitCode).toBe(2)
  expect(message).toMatch(
    /wrong\.yaml:7: train\.optimiser: there is no field momentun; the nearest is momentum/,
  )
})
test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s writes a checkpoint, ends with 130, and the run goes on from it',
  async (signal) => {
    const output = join(folder, signal)
    const args = ['train', recipe, '--output', output, '--steps', '200', '--json']
    const { child, outcome } = startPare(args.slice(0, -1))
    let seen = ''
    child.stderr!.on('data', (text) => {
      if (seen.includes('step ')) return
      seen += text
      if (seen.includes('step ')) child.kill(signal)
    })
    const { code, stdout, stderr } = await outcome
    expect([code, stdout]).toEqual([130, ''])
    expect(stderr).toMatch(/PARE_E_ABORTED/)
    const [checkpoint] = readdirSync(join(output, '.pare', 'checkpoints'))
    const step = Number(/step-(\d+)/.exec(checkpoint!)![1])
    expect(step).toBeGreaterThan(0)
    expect(step).toBeLessThan(200)
    expect(JSON.parse(pare(args).stdout)).toMatchObject({ steps: 200, resumedAt: step })
  },
)
