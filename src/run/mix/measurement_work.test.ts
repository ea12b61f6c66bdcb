import { describe, expect, test } from 'vitest'
import { affineGrid } from '../../nn/grid.ts'
import type { MeasurementFacts, RunFacts, RunMatrix } from '../run_facts.ts'
import { kernelsOf, workOf } from '../run_work.ts'
import { measurementWork } from './measurement_work.ts'

const matrix = (bits: 2 | 4, steps: readonly string[] = ['gptq']): RunMatrix => ({
  rows: 8,
  columns: 4,
  type: 'F16',
  storedType: `${bits} bits`,
  grid: affineGrid({ bits }),
  kept: false,
  bytes: 100,
  steps,
})
/** Two stages of one matrix, each at two levels. */
const facts = (extra: Partial<MeasurementFacts> = {}, steps?: readonly string[]): RunFacts => ({
  format: 'gguf',
  target: 'pare',
  method: 'gptq',
  hidden: 4,
  vocabulary: 10,
  layers: [0, 1].map(() => ({ heads: 1, headSize: 4, intermediate: 8 })),
  matrices: [matrix(4), matrix(4)],
  rest: [{ rows: 10, columns: 4, type: 'Q8_0', storedType: 'F16', kept: false, bytes: 80 }],
  sideBySide: false,
  hashedBytes: 0,
  textBytes: 0,
  measurement: {
    how: 'measured',
    windows: { tokens: 6, length: 3 },
    samples: { tokens: 20, length: 10 },
    textBytes: 500,
    stages: [0, 1].map(() => ({ matrices: [matrix(4)], levels: [matrix(2, steps), matrix(4, steps)] })),
    ...extra,
  },
})
const units = (run: RunFacts, name: string) =>
  measurementWork(run).reduce((sum, work) => sum + (work.name === name ? work.units : 0), 0)

describe('a measurement', () => {
  test('is a phase before the compression, where there is one', () => {
    expect(workOf(facts())[0]!.phase).toBe('measure')
    const { measurement: _, ...known } = facts()
    expect(measurementWork(known)).toEqual([])
    expect(workOf(known).map(({ phase }) => phase)).not.toContain('measure')
  })
  test('asks for the kernels of all its levels', () => {
    expect(kernelsOf(facts())).toEqual(
      expect.arrayContaining(['sweep:2 bits, groups of 64', 'sweep:4 bits, groups of 64', 'head', 'score']),
    )
  })
  test('solves each matrix at each level', () => {
    expect(units(facts(), 'factor')).toBe(4 * 4 ** 3)
    expect(units(facts(), 'sweep:2 bits, groups of 64')).toBe(2 * 8 * 4 ** 2)
    expect(units(facts(), 'round:2 bits, groups of 64')).toBe(2 * 32)
    expect(units(facts({}, ['rtn', 'gptq']), 'round:2 bits, groups of 64')).toBe(2 * 2 * 32)
  })
})

describe('measured on windows, it', () => {
  test('runs the source twice, the samples once, and each variant through its stage and those behind it', () => {
    // Of 32 weights each: two stages for the source, and for four variants two, two, one and one.
    expect(units(facts(), 'product')).toBe(32 * (2 * 2 * 6 + 2 * 20 + (2 + 2 + 1 + 1) * 6))
    expect(units(facts(), 'attention')).toBe(4 * 3 * (2 * 2 * 6 + 6 * 6) + 4 * 10 * 2 * 20)
  })
  test('takes the logits of the source anew for each stage', () => {
    expect(units(facts(), 'head')).toBe((4 + 2) * 6 * 4 * 10)
    expect(units(facts(), 'load:Q8_0')).toBe(2 * 40)
  })
  test('loads both stages for the source and the walk, and the second for the variants of the first', () => {
    expect(units(facts(), 'load:F16')).toBe(32 * (2 + 2 + 1))
  })
  test('walks with the windows where no method needs statistics', () => {
    const { samples: _, ...alone } = facts({}, ['rtn']).measurement!
    const run = { ...facts(), measurement: alone }
    expect(units(run, 'product')).toBe(32 * (3 * 2 * 6 + 6 * 6))
    expect([units(run, 'gram'), units(run, 'factor')]).toEqual([0, 0])
  })
  test('takes nothing for a stage of which all is known', () => {
    const [first, second] = facts().measurement!.stages
    const run = facts({ stages: [{ ...first!, levels: [] }, second!] })
    expect(units(run, 'head')).toBe((2 + 1) * 6 * 4 * 10)
    expect(units(run, 'load:F16')).toBe(32 * (2 + 2))
    expect(units(run, 'gram')).toBe(units(facts(), 'gram') / 2)
  })
})
test('compared by errors, it is one walk with three products on the Gram matrix for each level', () => {
  const run = facts({ how: 'error' })
  expect(units(run, 'product')).toBe(32 * 2 * 20 + 4 * 3 * 8 * 4 ** 2)
  expect(units(run, 'load:F16')).toBe(2 * 32)
  // Inputs of the four groups of a block: 4, 4, 4 and 8 wide.
  expect(units(run, 'gram')).toBe(20 * 2 * (16 + 16 + 16 + 64))
  expect(units(run, 'head')).toBe(0)
})
