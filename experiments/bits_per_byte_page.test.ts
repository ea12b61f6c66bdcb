import { expect, test } from 'vitest'
import { type BitsRecord, bitsFigure, bitsPage, bitsTable, finding } from './bits_per_byte_page.ts'

/** Two eras of 1,000 and 3,000 bytes. */
const record = (model: readonly [number, number]): BitsRecord => ({
  experiment: 'bits_per_byte',
  commit: 'abc',
  command: 'the command',
  machine: 'a machine',
  sources: 'x',
  eras: [
    { era: 'old', documents: 1, bytes: 1000, tokens: 300 },
    { era: 'new', documents: 2, bytes: 3000, tokens: 800 },
  ],
  training: { documents: 9, bytes: 90_000, tokens: 30_000 },
  rows: [
    { code: 'xz', learned: false, bits: [3000, 6000], bitsTotal: 8000 },
    { code: '5-gram', learned: true, bits: [2000, 7000], bitsTotal: 9000 },
    { code: 'pare-4m', learned: true, bits: model, bitsTotal: model[0] + model[1] },
  ],
})

test('a row has the bits a byte of every era and of all', () => {
  const lines = bitsTable(record([1500, 4500])).split('\n')
  expect(lines[0]).toBe('| code | knows the training text | old | new | all |')
  expect(lines[2]).toBe('| xz | no | 3.000 | 2.000 | 2.000 |')
  expect(lines[4]).toBe('| pare-4m | yes | 1.500 | 1.500 | 1.500 |')
})

test('the page says by how much the model wins, and where it does not', () => {
  expect(finding(record([1500, 4500]))).toBe(
    'The model takes the fewest bits: 25.0% fewer than xz, the next best, and the fewest in every era.',
  )
  expect(finding(record([2500, 4500]))).toBe(
    'The model takes the fewest bits: 12.5% fewer than xz, the next best. Another code is better on old.',
  )
})

test('the page says that the model loses where it does', () => {
  expect(bitsPage(record([3500, 6500]), false)).toContain(
    'The model loses: it takes 25.0% more bits than xz. Another code is better on old, new.',
  )
})

test('a stale page says so, and the figure has a point for every code, era and all', async () => {
  expect(bitsPage(record([1, 1]), true)).toContain('Stale')
  expect(bitsPage(record([1, 1]), false)).not.toContain('Stale')
  const svg = await bitsFigure(record([1500, 4500]))
  const [marks] = /class="mark-symbol role-mark"[\s\S]*?<\/g>/.exec(svg)!
  expect([...marks.matchAll(/<path /g)]).toHaveLength(3 * 3)
})
