import { expect, test } from 'vitest'
import { stepMethods } from '#src/run/step_methods.ts'
import { aqlm } from './aqlm.ts'
import { baq } from './baq.ts'
import { eora } from './eora.ts'
import { type Experiment, staleMark } from './experiment.ts'
import { drawFigure } from './figure.ts'
import { gptqFloats } from './gptq_floats.ts'
import { isRunOf } from './journal.ts'
import { step } from './one_shot_experiment.ts'
import { type OneShotJob, type OneShotRun, piecesOf, readsText, setups } from './one_shot_measure.ts'
import {
  belowLine,
  codeBits,
  lostOrders,
  nameOf,
  oneShotTable,
  ordered,
  ratios,
  summarize,
} from './one_shot_page.ts'
import { ptqBenchmark } from './ptq_benchmark.ts'
import { bestAt, front, ranksAt } from './ptq_ranks.ts'
import { sparsegpt } from './sparsegpt.ts'
import { spqr } from './spqr.ts'

const experiments: readonly Experiment<OneShotJob, OneShotRun>[] = [
  ...[sparsegpt, spqr, baq, aqlm, eora, gptqFloats, ptqBenchmark],
]
const job = (of: Partial<OneShotJob>): OneShotJob => {
  const { steps = [step('gptq', { bits: 3 })] } = of
  return { model: 'lm-6m', name: nameOf(steps), steps, seed: 0, setup: setups.zoo, ...of }
}
const run = (of: Partial<OneShotRun>): OneShotRun => ({
  ...job(of),
  ...{ sources: 'abc', commit: 'c0ffee', machine: 'one machine', parameters: 100 },
  ...{ hashes: { weights: 'a', text: 'b' }, storedBits: 3.25, bytes: 1000, fileBytes: 2000 },
  ...{ kl: 0.5, klStandardError: 0.01, perplexity: 40, perplexitySource: 32, top1: 0.7, relativeError: 0.1 },
  ...{ calibrationTokens: readsText(of.steps ?? [step('gptq')]) ? 100 : 0, seconds: 1, peakMemoryBytes: 1 },
  ...{ damped: 0, notes: [] },
  ...of,
})
const rtn = (of: Partial<OneShotRun>) => run({ steps: [step('rtn', { bits: 3 })], ...of })
const names = { lower: 'gptq 3 bits', higher: 'rtn 3 bits' }

test.each(experiments.map((experiment) => [experiment.name, experiment] as const))(
  '%s: every job has a name of its own, that says its steps, and none passes for another',
  (_, experiment) => {
    const jobs = experiment.jobs({ quick: false, seeds: [0, 1, 2] })
    expect(new Set(jobs.map(experiment.describe)).size).toBe(jobs.length)
    for (const one of jobs) {
      expect(one.name).toBe(nameOf(one.steps))
      expect(jobs.filter((other) => isRunOf(other, one))).toEqual([one])
      for (const { method } of one.steps) expect(Object.keys(stepMethods)).toContain(method)
    }
    expect(jobs.filter(({ steps, seed }) => !readsText(steps) && seed > 0)).toEqual([])
    const quick = experiment.jobs({ quick: true, seeds: [0] })
    expect(new Set(quick.map(({ model }) => model))).toEqual(new Set(['pare-4m']))
    expect(() => experiment.jobs({ quick: false, seeds: [0], only: ['nowhere'] })).toThrow(/name of no job/)
  },
)
test.each(experiments.map((experiment) => [experiment.name, experiment] as const))(
  '%s: claims are open without runs, and a page has whole tables and a figure for each model',
  async (_, experiment) => {
    expect(experiment.claims(result([])).filter(({ holds }) => holds !== undefined)).toEqual([])
    const runs = experiment
      .jobs({ quick: false, seeds: [0, 1] })
      .map((one, i) => run({ ...one, kl: 0.1 + i / 100, storedBits: 3 + i / 1e6 }))
    const page = experiment.page(result(runs), true)
    expect(page).toContain(staleMark)
    expect(page).not.toMatch(/NaN|undefined|\bnot run\b/)
    for (const lines of page.matchAll(/(?:^\|.*\|$\n)+/gm)) {
      const widths = lines[0]
        .trim()
        .split('\n')
        .map((line) => line.split('|').length)
      expect(new Set(widths).size).toBe(1)
    }
    for (const [file, spec] of experiment.figures(result(runs))) {
      expect(page).toContain(`(${file})`)
      expect(await drawFigure(spec)).not.toMatch(/NaN|undefined/)
    }
  },
)
test('a quick run fails where an order is lost', () => {
  const orders = [{ ...names, ratio: 0.8 }]
  const runs = (kl: number) => [run({ model: 'pare-4m', kl }), rtn({ model: 'pare-4m', kl: 1 })]
  expect([lostOrders(runs(0.8), orders), lostOrders(runs(0.81), orders).length]).toEqual([[], 1])
  expect(lostOrders([], orders)[0]).toMatch(/it has none/)
})
test('ratios are taken seed by seed, and what reads no text stands for every seed', () => {
  const runs = [run({ kl: 0.5 }), run({ kl: 1, seed: 1 }), rtn({ kl: 2 })]
  expect(ratios(runs, { model: 'lm-6m', ...names })).toEqual([0.25, 0.5])
  const both = [...runs, run({ steps: [step('spqr')], kl: 4, seed: 1 })]
  expect(ratios(both, { model: 'lm-6m', lower: 'gptq 3 bits', higher: 'spqr' })).toEqual([0.25])
  expect(ratios(runs, { model: 'pare-4m', ...names })).toEqual([])
})
test('an order holds where it does in every seed, and is open where one of its runs is missing', () => {
  const claim = (runs: readonly OneShotRun[]) =>
    ordered(runs, { text: 't', model: 'lm-6m', names: [names.lower, names.higher] })
  expect(claim([run({}), rtn({ kl: 0.6 })]).holds).toBe(true)
  expect(claim([run({}), run({ seed: 1, kl: 0.6 }), rtn({ kl: 0.6 })]).holds).toBe(false)
  expect(claim([run({})]).holds).toBeUndefined()
  expect(claim([run({}), rtn({ kl: 1 })]).found).toBe(
    'gptq 3 bits (3.25 bits) has 0.500 of the KL of rtn 3 bits (3.25 bits) (one a seed)',
  )
})
test('a line is met at as many bits, between neighbours by their logarithms, and below its first by that', () => {
  const line = [run({ kl: 1, storedBits: 3 }), rtn({ kl: 0.25, storedBits: 4 })]
  const claim = (storedBits: number, kl: number) =>
    belowLine([...line, run({ steps: [step('spqr')], kl, storedBits })], {
      ...{ text: 't', model: 'lm-6m', name: 'spqr', line: ['gptq 3 bits', 'rtn 3 bits'] },
    })
  expect([claim(3.5, 0.49).holds, claim(3.5, 0.51).holds]).toEqual([true, false])
  expect([claim(2.9, 0.9).holds, claim(4, 0.26).holds, claim(4.1, 0.1).holds]).toEqual([
    true,
    false,
    undefined,
  ])
  const seeds = [
    run({ kl: 2, storedBits: 3, seed: 1 }),
    run({ steps: [step('spqr')], kl: 1, storedBits: 3.5, seed: 2 }),
  ]
  const uneven = belowLine([...line, ...seeds, run({ steps: [step('spqr')], kl: 0.25, storedBits: 3.5 })], {
    ...{ text: 't', model: 'lm-6m', name: 'spqr', line: ['gptq 3 bits', 'rtn 3 bits'] },
  })
  expect(uneven.found).toMatch(/has 0\.500 of the KL/)
  expect(claim(3.5, 0.25).found).toMatch(
    /spqr \(3\.50 bits\) has 0\.500 of the KL of the line from gptq 3 bits/,
  )
})
test('names say every option', () => {
  expect(
    nameOf([step('sparsegpt', { pattern: '2:4' }), step('eora', { rank: 16, factorBits: 4, space: 'svd' })]),
  ).toBe('sparsegpt 2:4 + eora rank 16, factors of 4 bits, space svd')
  expect(nameOf([step('gptq', { bits: 3, groupSize: 'row', actOrder: false })])).toBe(
    'gptq 3 bits, a row, file order',
  )
})
test('rows of a table go by model and stored bits, and small values keep their digits', () => {
  const lines = oneShotTable(
    summarize([run({}), rtn({ storedBits: 3.125, kl: 0.000123 }), run({ seed: 1 })]),
  ).split('\n')
  expect(lines).toHaveLength(4)
  expect(lines[2]).toMatch(/\| rtn 3 bits \| 3\.125 \|.*\| 0\.000123 \|/)
  expect(lines[3]).toMatch(/0\.5000 ± 0\.010<br>0\.5000 ± 0\.010/)
})
test('ranks are those of what stores no more, from the best to the worst place over the seeds', () => {
  const spqrSteps = [step('spqr', { bits: 3 })]
  const runs = [
    rtn({ kl: 0.9, storedBits: 3.3 }),
    run({ kl: 0.5, storedBits: 3.39 }),
    run({ kl: 1, storedBits: 3.39, seed: 1 }),
    run({ steps: spqrSteps, kl: 0.1, storedBits: 3.41 }),
  ]
  expect(ranksAt(runs, 'lm-6m', 3)).toEqual([
    { method: 'gptq', storedBits: 3.39, kl: 0.75, best: 1, worst: 2 },
    { method: 'rtn', storedBits: 3.3, kl: 0.9, best: 1, worst: 2 },
  ])
  expect(ranksAt(runs, 'lm-6m', 4)).toEqual([])
})
test('a method is the best where it is so in every seed, of which there must be two', () => {
  const one = [rtn({ kl: 0.9 }), run({ kl: 0.5 })]
  expect(bestAt(one, 'lm-6m', 3)).toMatchObject({ found: expect.stringMatching(/gptq has 0\.500.*one seed/) })
  expect(bestAt(one, 'lm-6m', 3).holds).toBeUndefined()
  expect(bestAt([...one, run({ kl: 0.6, seed: 1 })], 'lm-6m', 3).holds).toBe(true)
  expect(bestAt([...one, run({ kl: 1, seed: 1 })], 'lm-6m', 3).holds).toBe(false)
})
test('on the front is what no other beats in both bytes and KL', () => {
  const rows = summarize([
    rtn({ bytes: 1000, kl: 0.9 }),
    run({ bytes: 1000, kl: 0.5 }),
    run({ steps: [step('spqr')], bytes: 1100, kl: 0.6 }),
    run({ steps: [step('baq')], bytes: 1200, kl: 0.4 }),
  ])
  expect(front(rows).map(({ name }) => name)).toEqual(['gptq 3 bits', 'baq'])
})
test('pieces of the training text are every twentieth of 4000 characters', () => {
  const text = Array.from({ length: 90_000 }, (_, i) => String.fromCharCode(97 + (i % 26))).join('')
  expect(piecesOf(text)).toEqual([text.slice(0, 4000), text.slice(80_000, 84_000)])
})

function result(runs: OneShotRun[]) {
  return { experiment: 'one', commit: '0123456789ab', command: 'pare reproduce', sources: 'abc', runs }
}

test.each([
  ['a grid', [step('gptq', { bits: 3, groupSize: 64 })], 3],
  ['a grid behind a transform', [step('hadamard'), step('rtn', { bits: 2 })], 2],
  ['codebooks', [step('aqlm', { books: 3, bookBits: 7 })], 2.625],
  ['what is left of half of the weights, as numbers', [step('wanda', { sparsity: 0.5 })], 8],
  ['the same in a pattern', [step('sparsegpt', { pattern: '2:4' })], 8],
  ['the same as codes', [step('sparsegpt', { sparsity: 0.5, bits: 4 })], 2],
  ['what a repair stands behind', [step('gptq', { bits: 3 }), step('eora', { rank: 8 })], 3],
])('bits of codes alone: %s', (_, steps, bits) => {
  expect(codeBits(steps)).toBeCloseTo(bits, 12)
})
