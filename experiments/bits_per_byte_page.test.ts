import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { hashOfModel } from './bits_per_byte.ts'
import { type BitsRun, bitsFigure, bitsPage, bitsTable, claims } from './bits_per_byte_page.ts'
import { drawFigure } from './figure.ts'
import { root } from './repository.ts'

const run = (
  code: BitsRun['code'],
  bits: readonly [number, number],
  bitsTotal = bits[0] + bits[1],
): BitsRun => ({
  code,
  seed: 0,
  text: 'all',
  tokens: '',
  weights: '',
  sources: 'x',
  machine: 'a machine',
  eras: [
    { era: 'old', documents: 1, bytes: 1000 },
    { era: 'new', documents: 2, bytes: 3000 },
  ],
  training: { documents: 9, bytes: 90_000 },
  bits,
  bitsTotal,
  seconds: 1,
})
/** xz is better on new text than on old; all texts together repeat something. */
const runs = (model: readonly [number, number]) => [
  run('gzip -9', [4000, 9000]),
  run('xz -9e', [3000, 6000], 8000),
  run('xz -9e after the training text', [2900, 6000], 8500),
  run('5-gram', [2000, 7000]),
  run('pare-4m', model),
]
const result = (model: readonly [number, number]) => ({
  experiment: 'bits_per_byte',
  commit: 'abc',
  command: 'the command',
  sources: 'x',
  runs: runs(model),
})

test('a row has the bits a byte of every era and of all', () => {
  const lines = bitsTable(runs([1500, 4500])).split('\n')
  expect(lines[0]).toBe('| code | knows the training text | old | new | all |')
  expect(lines[3]).toBe('| xz -9e | no | 3.000 | 2.000 | 2.000 |')
  expect(lines[6]).toBe('| pare-4m | yes | 1.500 | 1.500 | 1.500 |')
})

test('the claims say by how much the model wins, and where it does not', () => {
  expect(claims(runs([1500, 4500]))).toMatchObject([
    { holds: true, found: '1.500 bits a byte, 25.0% fewer than xz -9e, the best of the others' },
    { holds: true },
  ])
  expect(claims(runs([2500, 4500]))).toMatchObject([
    { holds: true, found: '1.750 bits a byte, 12.5% fewer than xz -9e, the best of the others' },
    { holds: false, found: 'another code is better on old' },
  ])
})

test('the page prints that the model loses where it does', () => {
  expect(bitsPage(result([3500, 6500]), false)).toContain(
    '**Does not hold**: 2.500 bits a byte, 25.0% more than xz -9e, the best of the others.',
  )
})

test('a stale page says so, and the figure has a point for every code, era and all', async () => {
  expect(bitsPage(result([1, 1]), true)).toContain('Stale')
  expect(bitsPage(result([1, 1]), false)).not.toContain('Stale')
  const [marks] = /class="mark-symbol role-mark"[\s\S]*?<\/g>/.exec(
    await drawFigure(bitsFigure(runs([1, 1]))),
  )!
  expect([...marks.matchAll(/<path /g)]).toHaveLength(5 * 3)
})

const record = join(root, 'docs/results/bits_per_byte.json')
test('the result is that of the model that lies here', () => {
  const { runs } = JSON.parse(readFileSync(record, 'utf8')) as { runs: BitsRun[] }
  const model = runs.find(({ code }) => code === 'pare-4m')
  expect([model?.tokens, model?.weights]).toEqual([
    hashOfModel('tokenizer.json'),
    hashOfModel('model.safetensors'),
  ])
})
