import { expect, test } from 'vitest'
import { type Claim, staleMark } from './experiment.ts'
import { drawFigure } from './figure.ts'
import { machineLines, resultFigure, resultPage, resultTable } from './gptq_page.ts'
import { type Configuration, claims, pickRuns, type Result, type Run, summarize } from './gptq_result.ts'

const setup = { samples: 64, length: 512, context: 512, windows: 20, every: 50 }
const run = (of: Partial<Run>): Run => ({
  method: 'gptq',
  bits: 3,
  group: 64,
  symmetric: true,
  order: 'static act-order',
  seed: 0,
  setup,
  sources: 'abc',
  storedBits: 3.25,
  perplexity: 40,
  perplexitySource: 32,
  kl: 0.5,
  klStandardError: 0.01,
  top1: 0.7,
  seconds: 100,
  machine: 'one machine',
  numerics: 'now',
  commit: 'c0ffee',
  ...of,
})
const rtn = (of: Partial<Configuration> & { kl: number }) => run({ method: 'rtn', order: 'file', ...of })
const result = (runs: Run[]): Result => ({
  experiment: 'gptq',
  commit: '0123456789ab',
  command: 'npm run experiment -- gptq',
  sources: 'abc',
  numerics: { avx2: 'now', avx512: 'wide' },
  model: { file: 'm.gguf', sha256: 'f' },
  runs,
})
/** Of both grids in the default order, and of 8 bits. */
const verdicts = (runs: Run[]) => {
  const all = claims(summarize(runs), result([])).map(({ holds }: Claim) => holds)
  return [all[0], all[1], all.at(-1)]
}

test('a row is the mean over seeds, with their spread, and its ratio is against RTN on the same grid', () => {
  const rows = summarize([
    rtn({ kl: 1 }),
    rtn({ kl: 8, symmetric: false }),
    run({ kl: 0.5 }),
    run({ kl: 0.75, seed: 1 }),
    run({ kl: 1, seed: 2 }),
  ])
  expect(rows.map(({ kl, klSpread, ratio }) => ({ kl, klSpread, ratio }))).toEqual([
    { kl: 1, klSpread: undefined, ratio: undefined },
    { kl: 8, klSpread: undefined, ratio: undefined },
    { kl: 0.75, klSpread: 0.25, ratio: 0.75 },
  ])
})
test('act-order is held against RTN without it, which has no order', () => {
  const [, row] = summarize([rtn({ kl: 1 }), run({ kl: 0.25, order: 'act-order' })])
  expect(row!.ratio).toBe(0.25)
})
test('a claim holds only where every seed is below the bound, and is open where its runs are missing', () => {
  expect(verdicts([rtn({ kl: 1 }), run({ kl: 0.65 }), run({ kl: 0.2, seed: 1 })])).toEqual([
    true,
    undefined,
    undefined,
  ])
  expect(verdicts([rtn({ kl: 1 }), run({ kl: 0.66 }), run({ kl: 0.2, seed: 1 })])).toEqual([
    false,
    undefined,
    undefined,
  ])
  const asymmetric = { symmetric: false }
  expect(verdicts([rtn({ kl: 1, ...asymmetric }), run({ kl: 0.56, ...asymmetric })])).toEqual([
    undefined,
    false,
    undefined,
  ])
})
test('a claim says which of its runs are from older kernels', () => {
  const runs = [rtn({ kl: 1 }), run({ kl: 0.5 }), run({ kl: 0.6, seed: 1, numerics: 'old' })]
  expect(claims(summarize(runs), result([]))[0]!.found).toBe('0.500, 0.600 with older kernels (one a seed)')
})
test('8 bits may be off by 0.1% of the perplexity, above or below', () => {
  const eight = (perplexity: number) => verdicts([run({ bits: 8, perplexity })])[2]
  expect([32, 32.03, 31.97, 32.04, 31.96].map(eight)).toEqual([true, true, true, false, false])
})
test('a page says what does not hold, and whether it is stale', () => {
  const page = resultPage(result([rtn({ kl: 1 }), run({ kl: 0.9 })]), false)
  expect(page).toMatch(/\*\*Does not hold\*\*: 0\.900/)
  expect(page).not.toContain(staleMark)
  expect(resultPage(result([run({})]), true)).toContain(staleMark)
})
test('every row of the table has as many cells as its head', () => {
  const lines = resultTable(
    summarize([rtn({ kl: 1 }), run({}), run({ seed: 1 }), run({ bits: 8 })]),
    result([]),
  ).split('\n')
  expect(new Set(lines.map((line) => line.split('|').length)).size).toBe(1)
  expect(lines).toHaveLength(5)
})
test('a row names the machines that its runs were made on', () => {
  const rows = summarize([run({}), run({ seed: 1 }), run({ seed: 2, machine: 'another' }), run({ bits: 2 })])
  expect(resultTable(rows, result([]))).toMatch(/\| 1, 2 \| c0ffee \|\n.*\| 1 \| c0ffee \|$/)
  expect(machineLines(rows)).toBe('Machine 1: one machine\\\nMachine 2: another')
})
test('a row names the commits of its runs, and which of them are from older kernels', () => {
  const rows = summarize([
    run({}),
    run({ seed: 1, numerics: 'wide' }),
    run({ seed: 2, numerics: 'old', commit: 'b' }),
  ])
  expect(resultTable(rows, result([]))).toMatch(/\| c0ffee, b \(older kernels\) \|$/)
})
test('of two runs of the same, that of the present kernels is taken, else the later one', () => {
  const at = { setup, sources: 'abc', numerics: { avx2: 'now' } }
  const [old, now, later] = [run({ numerics: 'old' }), run({}), run({ numerics: 'older', kl: 0.6 })]
  expect(pickRuns([old, now, later], at)).toEqual([now])
  expect(pickRuns([old, later], at)).toEqual([later])
  expect(pickRuns([old, run({ seed: 1 })], at)).toHaveLength(2)
  expect(pickRuns([run({ sources: 'else' }), run({ setup: { ...setup, samples: 1 } })], at)).toEqual([])
})
test('the figure has one point for each row below 8 bits', async () => {
  const runs = [
    rtn({ kl: 1 }),
    run({}),
    run({ bits: 2, storedBits: 2.25, kl: 3 }),
    run({ bits: 8, kl: 0.001 }),
  ]
  const svg = await drawFigure(resultFigure(result(runs)))
  expect(svg).toMatch(/^<svg/)
  const [, symbols] = /<g class="mark-symbol role-mark"[^>]*>(.*?)<\/g>/s.exec(svg)!
  expect(symbols!.match(/<path/g)).toHaveLength(3)
  expect(svg).toContain('gptq, symmetric')
  expect(svg).toContain('rtn, symmetric')
  expect(svg).not.toMatch(/NaN|undefined/)
})
