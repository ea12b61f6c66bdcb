import { describe, expect, test } from 'vitest'
import { affineGrid, gridName } from '../nn/grid.ts'
import type { KernelName } from './kernel_work.ts'
import type { RunFacts } from './run_facts.ts'
import { kernelsOf, workOf } from './run_work.ts'
import { type Rate, timeRange } from './time_plan.ts'

const grid = affineGrid({ bits: 3 })
const matrix = {
  rows: 8,
  columns: 4,
  type: 'F16',
  storedType: gridName(grid),
  grid,
  kept: false,
  bytes: 100,
  steps: ['gptq'],
}
const facts = (extra: Partial<RunFacts> = {}): RunFacts => ({
  format: 'gguf',
  target: 'pare',
  method: 'gptq',
  hidden: 4,
  vocabulary: 10,
  layers: [{ heads: 2, headSize: 2, intermediate: 8 }],
  matrices: [matrix],
  rest: [{ rows: 10, columns: 4, type: 'Q8_0', storedType: 'F16', kept: false, bytes: 80 }],
  calibration: { tokens: 64, length: 16, sequential: true },
  evaluation: { tokens: 32, context: 16 },
  sideBySide: false,
  hashedBytes: 1000,
  textBytes: 500,
  ...extra,
})
const nearest = facts({ method: 'rtn', matrices: [{ ...matrix, steps: ['rtn'] }] })
const { calibration: _, ...uncalibrated } = nearest

/** Units of a kernel in a phase. */
const units = (run: RunFacts, phase: string, name: string) =>
  workOf(run)
    .filter((each) => each.phase === phase)
    .flatMap(({ work }) => work)
    .filter((work) => work.name === name)
    .reduce((sum, work) => sum + work.units, 0)
/** Every kernel takes as long, with readings that are so far apart. */
const rates = (run: RunFacts, middle: number, spread = 1) =>
  new Map<KernelName, Rate>(
    kernelsOf(run).map((name) => [name, { low: middle / spread, middle, high: middle * spread }]),
  )
const range = (run: RunFacts, middle: number, spread?: number) =>
  timeRange(run, rates(run, middle, spread), { threads: 2 })

describe('counts', () => {
  test('of a calibrated matrix are those of its forward, its errors, its factor and its sweep', () => {
    const run = facts()
    // 64 tokens through 8 x 4 weights, and three products of an 8 x 4 with a 4 x 4 matrix.
    expect(units(run, 'compress', 'product')).toBe(64 * 32 + 3 * 8 * 16)
    // Inputs of the four groups of a block: 4, 4, 4 and 8 wide.
    expect(units(run, 'compress', 'gram')).toBe(64 * (16 + 16 + 16 + 64))
    expect(units(run, 'compress', 'factor')).toBe(4 ** 3)
    expect(units(run, 'compress', 'sweep:3 bits, groups of 64')).toBe(8 * 4 ** 2)
    // The sweep rounds, and so does the baseline of the report.
    expect(units(run, 'compress', 'round:3 bits, groups of 64')).toBe(2 * 32)
    expect(units(run, 'compress', 'pack:pare-3')).toBe(32)
    expect(units(run, 'compress', 'attention')).toBe(2 * 2 * 64 * 16)
  })
  test('of forwards are twice as high where the weights of a block do not wait for each other', () => {
    const both = facts({ calibration: { tokens: 64, length: 16, sequential: false } })
    expect(units(both, 'compress', 'attention')).toBe(2 * units(facts(), 'compress', 'attention'))
  })
  test('of round-to-nearest have no statistics in them', () => {
    expect(kernelsOf(uncalibrated).filter((name) => /gram|factor|sweep/.test(name))).toEqual([])
    expect(units(uncalibrated, 'compress', 'attention')).toBe(0)
    expect(units(uncalibrated, 'compress', 'round:3 bits, groups of 64')).toBe(32)
  })
  test('of an evaluation hold both models, each read from its own types', () => {
    const run = facts()
    expect(units(run, 'evaluate', 'product')).toBe(2 * 32 * 32)
    expect(units(run, 'evaluate', 'head')).toBe(2 * 32 * 4 * 10)
    expect(units(run, 'evaluate', 'load:F16')).toBe(32 + 40)
    expect(units(run, 'evaluate', 'load:Q8_0')).toBe(40)
    expect(units(run, 'evaluate', 'load:pare-3')).toBe(32)
  })
  test('are there for the phases that a run has, and for no others', () => {
    const { evaluation: _, ...alone } = facts({ hashedBytes: 0 })
    expect(workOf(alone).map(({ phase }) => phase)).toEqual(['calibrate', 'compress', 'write'])
    expect(workOf(facts({ sideBySide: true })).map(({ phase }) => phase)).toEqual([
      'verify',
      'calibrate',
      'compress',
      'write',
      'evaluate',
      'sample',
    ])
  })
})

test('counts of the speed are those of the texts that fit into its time, and of a whole round at least', () => {
  const written = (bytes: number) =>
    units(facts({ speed: { source: bytes, result: bytes } }), 'speed', 'thin') / ((2 * bytes) / 4)
  expect(written(1e6)).toBe(5 * 32)
  expect(written(1e9)).toBe(32)
  expect(units(facts(), 'speed', 'thin')).toBe(0)
})

describe('the range', () => {
  test('is the sum of its phases, and grows with the time that a unit takes', () => {
    const [slow, fast] = [range(facts(), 2), range(facts(), 1)]
    expect(slow.to).toBeCloseTo(
      slow.phases.reduce((sum, { to }) => sum + to, 0),
      6,
    )
    expect(slow.from / fast.from).toBeCloseTo(2, 3)
    expect(slow.threads).toBe(2)
  })
  test('is wider where readings differ, and never wider than a factor of 2.5', () => {
    const wide = [1, 1.1, 2, 10].map((spread) => {
      const { from, to } = range(facts(), 1, spread)
      return to / from
    })
    expect(wide[1]).toBeGreaterThan(wide[0]!)
    expect(Math.max(...wide)).toBeLessThan(2.5 + 1e-9)
  })
  test('of a model that takes no time ends at two seconds, which any run may take', () => {
    expect(range(facts(), 1e-12)).toMatchObject({ from: 0, to: 2 })
  })
})
