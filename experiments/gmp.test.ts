import { expect, test } from 'vitest'
import { freshWeights as freshClassifier } from '#src/models/classifiers/fresh_weights.ts'
import { freshWeights } from '#src/models/llama/fresh_weights.ts'
import { Parameters } from '#src/nn/parameters.ts'
import { scope, type Tensor } from '#src/tensor/index.ts'
import { drawFigure } from './figure.ts'
import { gmp } from './gmp.ts'
import { equalScale, equalWidth, keptOfLanguageModel, keptOfLenet, lenetOf } from './gmp_models.ts'
import { claims, figures, nameOf, page } from './gmp_page.ts'
import { type GmpJob, type GmpRun, wideWidth } from './gmp_training.ts'
import { type LanguageTraining, modelConfig } from './language_training.ts'

const jobs = gmp.jobs({ quick: false, seeds: [0, 1, 2] })
const language = jobs.find(({ part }) => part === 'language')!.setup as LanguageTraining
const sizeOf = (weights: ReadonlyMap<string, Tensor>) =>
  [...weights.values()].reduce((sum, { size }) => sum + size, 0)
const textured = 'moved digits on textures'

test('a dense network with as many weights is the smallest with at least what the wide one keeps', () => {
  const sizeAt = (scale: number) => {
    const parameters = new Parameters()
    lenetOf(textured, scale)(freshClassifier(parameters, { seed: 0 }))
    const size = sizeOf(parameters.tensors())
    parameters.dispose()
    return size
  }
  expect(sizeAt(1)).toBe(keptOfLenet(textured, 0))
  for (const sparsity of [0.8, 0.9, 0.95, 0.98]) {
    const [scale, budget] = [equalScale(textured, sparsity), keptOfLenet(textured, sparsity)]
    expect(sizeAt(scale)).toBeGreaterThanOrEqual(budget)
    expect(sizeAt(scale - 1 / 256)).toBeLessThan(budget)
    expect(sizeAt(scale)).toBeLessThan(1.15 * budget)
  }
})
test('a narrow language model has at least what the wide one keeps, and heads of an even width', () => {
  const width = equalWidth(wideWidth, 0.8, language)
  const config = modelConfig(width, language)
  expect(config.headSize % 2).toBe(0)
  const size = scope(() => sizeOf(freshWeights(config, { seed: 0 })))
  const budget = keptOfLanguageModel(wideWidth, 0.8, language)
  expect(size).toBe(keptOfLanguageModel(width, 0, language))
  expect([size >= budget, size < 1.15 * budget]).toEqual([true, true])
})
test('all widths take as many steps on the same data, over three seeds, and every job has a name of its own', () => {
  for (const part of ['images', 'language'])
    expect(
      new Set(jobs.filter((job) => job.part === part).map(({ setup }) => JSON.stringify(setup))).size,
    ).toBe(1)
  const names = jobs.map((job) => `${nameOf(job)} ${job.seed}`)
  expect(new Set(names).size).toBe(jobs.length)
  expect(jobs).toHaveLength(3 * (11 + 8))
  expect(gmp.jobs({ quick: false, seeds: [0], only: ['images,0.95'] })).toHaveLength(4)
  expect(() => gmp.jobs({ quick: false, seeds: [0], only: ['image'] })).toThrow(
    /needed is images or language/,
  )
})

const run = (job: GmpJob, score: number): GmpRun => ({
  ...job,
  score,
  ...(job.part === 'language' ? { lossOf: { novel: score }, tokens: 1000 } : { images: 1000 }),
  parameters: 100,
  nonZeros: Math.round(100 * job.width * (1 - job.sparsity)) + 1,
  measuredSparsity: job.sparsity,
  bytes: { dense: 200, bitmask: 100, rows: 90 },
  seconds: 1,
  processorSeconds: 2,
  sources: 'abc',
  machine: 'one machine',
})
/** Scores by name, without the seed. */
const runsOf = (score: (job: GmpJob) => number) => jobs.map((job) => run(job, score(job)))
const verdicts = (score: (job: GmpJob) => number) => claims({ runs: runsOf(score) }).map(({ holds }) => holds)

test('claims are about means over seeds: accuracies from above, losses from below', () => {
  const score = ({ part, treatment, seed }: GmpJob) => {
    const off = 0.01 * (seed - 1)
    if (part === 'language') return (treatment === 'gradual' ? 4 : 4.021) + off
    return { gradual: 0.8, 'one shot at the end': 0.69 }[treatment as 'gradual'] ?? 0.75 + off
  }
  expect(verdicts(score)).toEqual(Array(7).fill(true))
  const tenPoints = verdicts((job) => (job.treatment === 'one shot at the end' ? 0.71 : score(job)))
  expect(tenPoints).toEqual([false, ...Array(6).fill(true)])
  const nats = verdicts((job) =>
    job.part === 'language' && job.treatment === 'gradual' ? 4.005 : score(job),
  )
  expect(nats).toEqual([...Array(6).fill(true), false])
  expect(claims({ runs: [] }).map(({ holds }) => holds)).toEqual(Array(7).fill(undefined))
})
test('the page states images and tokens, has whole tables, and says what does not hold', () => {
  const text = page(
    {
      experiment: 'gmp',
      commit: 'c0ffee',
      command: '',
      sources: 'abc',
      runs: runsOf(({ seed }) => seed / 10),
    },
    true,
  )
  expect(text).toMatch(/sees 1,000 images/)
  expect(text).toMatch(/see 1,000 tokens each/)
  expect(text).toMatch(/^> Stale/m)
  expect(text).toMatch(/\*\*Does not hold\*\*/)
  expect(text).toContain('10.00 ± 10.00')
  expect(text).not.toMatch(/NaN|undefined/)
  for (const lines of text.matchAll(/(?:^\|.*\|$\n)+/gm))
    expect(
      new Set(
        lines[0]
          .trim()
          .split('\n')
          .map((line) => line.split('|').length),
      ).size,
    ).toBe(1)
})
test('a figure has a point for each row', async () => {
  const all = figures({ runs: runsOf(() => 0.5) })
  expect([...all.keys()]).toEqual(['gmp.svg', 'gmp_language.svg', 'gmp_bytes.svg'])
  const points = async (file: string) => {
    const svg = await drawFigure(all.get(file)!)
    expect(svg).not.toMatch(/NaN|undefined/)
    const [, symbols] = /<g class="mark-symbol role-mark"[^>]*>(.*?)<\/g>/s.exec(svg)!
    return symbols!.match(/<path/g)!.length
  }
  expect(await points('gmp.svg')).toBe(11)
  expect(await points('gmp_language.svg')).toBe(8)
  // Sparse ones stand there as bitmask and as rows.
  expect(await points('gmp_bytes.svg')).toBe(3 + 2 * 5)
})
test('a quick run fails where one shot at the end comes within ten points', () => {
  const quick = gmp.jobs({ quick: true, seeds: [0] })
  const failures = (once: number) =>
    gmp.failures(
      {
        experiment: 'gmp',
        commit: '',
        command: '',
        sources: '',
        runs: quick.map((job) => run(job, job.treatment === 'one shot at the end' ? once : 0.9)),
      },
      { assets: undefined, quick: true, record: undefined, sources: '', say: () => {} },
    )
  expect([failures(0.7).length, failures(0.85).length]).toEqual([0, 1])
})
