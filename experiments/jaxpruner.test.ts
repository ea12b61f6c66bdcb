import { expect, test } from 'vitest'
import { drawFigure } from './figure.ts'
import { jaxpruner } from './jaxpruner.ts'
import { claims, figures, nameOf, page, summarize } from './jaxpruner_page.ts'
import type { JaxprunerJob, JaxprunerRun } from './jaxpruner_training.ts'

const jobs = jaxpruner.jobs({ quick: false, seeds: [0, 1, 2] })
const run = (job: JaxprunerJob, score: number): JaxprunerRun => ({
  ...job,
  score,
  ...(job.part === 'language' ? { tokens: 2000 } : { images: 1000 }),
  parameters: 3_000_000,
  nonZeros: 60,
  measuredSparsity: job.sparsity,
  bytes: { dense: 200, bitmask: 100, rows: 90 },
  seconds: 1,
  processorSeconds: 2,
  sources: 'abc',
  machine: 'one machine',
})
const accuracies: Readonly<Record<string, number>> = {
  magnitude: 0.84,
  rigl: 0.83,
  static_sparse: 0.82,
  random: 0.8,
}
const runsOf = (score: (job: JaxprunerJob) => number) => jobs.map((job) => run(job, score(job)))
const usual = runsOf(({ algorithm, seed }) => (accuracies[algorithm] ?? 0.5) + 0.01 * (seed - 1))

const epochs = ({ setup }: JaxprunerJob) => ('epochs' in setup ? setup.epochs : 0)

test.each([40, 10])(
  'all eleven algorithms stand there at three sparsities and, where they take one, both distributions, for %i epochs',
  (length) => {
    const images = jobs.filter((job) => job.part === 'images' && job.seed === 0 && epochs(job) === length)
    const sparse = images.filter(({ algorithm }) => algorithm !== 'no_prune')
    expect(new Set(images.map(({ algorithm }) => algorithm)).size).toBe(11)
    expect(sparse).toHaveLength(3 * (8 * 2 + 2))
    expect(new Set(sparse.map(({ sparsity }) => sparsity))).toEqual(new Set([0.8, 0.95, 0.98]))
    expect(images.filter(({ distribution }) => distribution === 'global')).toHaveLength(6)
  },
)
test('every job has a name of its own, and five algorithms train the language model', () => {
  expect(new Set(jobs.map((job) => `${nameOf(job)} ${job.seed}`)).size).toBe(jobs.length)
  const language = jobs.filter(({ part, seed }) => part === 'language' && seed === 0)
  expect(language.map(({ algorithm }) => algorithm).sort()).toEqual(
    ['magnitude', 'no_prune', 'random', 'rigl', 'static_sparse'].sort(),
  )
})
test('--only takes parts and algorithms, and names what is near to a mistake', () => {
  const only = (...words: string[]) => jaxpruner.jobs({ quick: false, seeds: [0], only: words })
  expect(only('rigl')).toHaveLength(2 * 6 + 1)
  expect(only('rigl', 'language')).toHaveLength(1)
  expect(() => only('rigel')).toThrow(/the nearest is rigl/)
})
test('the claims are the order at 95% with ERK, on means over seeds', () => {
  expect(claims({ runs: usual }).map(({ holds }) => holds)).toEqual([true, true, true, true])
  expect(claims({ runs: usual })[3]!.found).toBe('84.00% against 80.00%, by 4.00 ± 0.00 points over 3 seeds')
  const near = usual.map((each) => (each.algorithm === 'random' ? { ...each, score: 0.825 } : each))
  expect(claims({ runs: near }).map(({ holds }) => holds)).toEqual([true, true, false, false])
  expect(claims({ runs: [] }).map(({ holds }) => holds)).toEqual(Array(4).fill(undefined))
  // Neither the other distribution nor the shorter training decides them.
  const others = usual.map((each) =>
    each.distribution === 'uniform' || epochs(each) === 10 ? { ...each, score: 0 } : each,
  )
  expect(claims({ runs: others })).toEqual(claims({ runs: usual }))
})
test('a row is the mean over seeds with its spread and the measured sparsity', () => {
  const row = summarize(usual).find(
    ({ algorithm, distribution, sparsity }) =>
      algorithm === 'rigl' && distribution === 'erk' && sparsity === 0.95,
  )!
  expect(row.score).toMatchObject({ seeds: 3, low: 0.82, high: 0.84 })
  expect([row.score.mean, row.score.spread]).toEqual([expect.closeTo(0.83, 9), expect.closeTo(0.01, 9)])
  expect(row.measured.mean).toBeCloseTo(0.95, 9)
})
test('the page has one line for each algorithm and distribution, and states images and tokens', () => {
  const text = page(
    { experiment: 'jaxpruner', commit: 'c0ffee', command: '', sources: 'abc', runs: usual },
    false,
  )
  expect(text).toMatch(/Each run sees 1,000 images/)
  expect(text).toMatch(/of 3\.00 M parameters.* sees 2,000 tokens/)
  expect(text).toContain('| rigl | erk | 83.00 ± 1.00 (80.00 ± 0.00) | 83.00 ± 1.00 (95.00 ± 0.00) |')
  expect(text.match(/^\| (?!algorithm|---)/gm)).toHaveLength(2 * (1 + 8 * 2 + 2) + 5)
  expect(text).not.toMatch(/NaN|undefined|Stale/)
})
test('a shorter training tells its own claims, those that fail too', () => {
  const runs = usual.map((each) =>
    epochs(each) === 10 && each.algorithm === 'magnitude' ? { ...each, score: 0 } : each,
  )
  const text = page({ experiment: 'jaxpruner', commit: '', command: '', sources: 'abc', runs }, false)
  const [long, short] = text.split('## The same with 10 epochs') as [string, string]
  expect([long.match(/\*\*Does not hold/g), short.match(/\*\*Does not hold/g)?.length]).toEqual([null, 2])
})
test('the figure has a point for each algorithm and sparsity', async () => {
  const svg = await drawFigure(figures({ runs: usual }).get('jaxpruner.svg')!)
  const [, symbols] = /<g class="mark-symbol role-mark"[^>]*>(.*?)<\/g>/s.exec(svg)!
  expect(symbols!.match(/<path/g)).toHaveLength(10 * 3)
  expect(svg).not.toMatch(/NaN|undefined/)
})
