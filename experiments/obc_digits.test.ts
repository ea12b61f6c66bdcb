import { expect, test } from 'vitest'
import { staleMark } from './experiment.ts'
import { drawFigure } from './figure.ts'
import { obcDigits } from './obc_digits.ts'

type Run = Parameters<typeof obcDigits.outcome>[0]
const jobs = obcDigits.jobs({ quick: false, seeds: [0, 1] })
const stamp = { sources: 'abc', commit: 'c0ffee', machine: 'one machine' }
const scores = { storedBits: 3, accuracyFloats: 0.9, heldOut: 2000 }
const runOf = (job: (typeof jobs)[number], accuracy: number): Run => ({
  ...{ ...job, ...stamp, ...scores },
  ...{ accuracy, accuracyEstimated: accuracy + 0.01 },
})
const result = (runs: readonly Run[]) => ({
  ...{
    experiment: 'obc_digits',
    commit: '0123456789ab',
    command: 'pare reproduce',
    sources: 'abc',
    seeds: [0],
  },
  ...{ machines: ['one machine'], runs },
})

test('three shares of zeros and three widths, each by three methods; --only takes the words of a row', () => {
  expect(jobs).toHaveLength(2 * 18)
  expect(new Set(jobs.map(obcDigits.describe)).size).toBe(jobs.length)
  expect(obcDigits.jobs({ quick: false, seeds: [0], only: ['75% zeros: obs'] })).toHaveLength(1)
})
test('claims are open without runs, and decided by every seed that both have', () => {
  expect(obcDigits.claims(result([])).filter(({ holds }) => holds !== undefined)).toEqual([])
  const score = (method: string, seed: number) => (method === 'obs' ? (seed === 0 ? 0.8 : 0.6) : 0.7)
  const runs = jobs
    .filter(({ level }) => 'zeros' in level && level.zeros === 0.5)
    .map((job) => runOf(job, score(job.method, job.seed)))
  const [magnitude] = obcDigits.claims(result(runs)).filter(({ holds }) => holds !== undefined)
  expect(magnitude).toMatchObject({
    text: '50% zeros, new statistics: obs keeps more of the accuracy than magnitude.',
    holds: false,
  })
  const [first] = obcDigits.claims(result(runs.filter(({ seed }) => seed === 0)))
  expect(first).toMatchObject({ holds: true, found: '81.00% against 71.00%, by 10.00 points over 1 seed' })
})
test('the page has a row for each way, both figures, and says where it is stale', async () => {
  const runs = jobs.map((job, i) => runOf(job, 0.5 + i / 1000))
  const page = obcDigits.page(result(runs), true)
  expect(page).toContain(staleMark)
  expect(page.split('\n').filter((line) => line.startsWith('| ')).length).toBe(2 + 18)
  const figures = obcDigits.figures(result(runs))
  for (const file of figures.keys()) expect(page).toContain(`](${file})`)
  for (const spec of figures.values()) expect(await drawFigure(spec)).toContain('<svg')
})
test('a quick run that loses an order is told', () => {
  const [worse] = jobs.map((job) => runOf({ ...job, method: 'rtn' }, 0.9))
  expect(obcDigits.failures(result([worse!]), { assets: undefined } as never)).toContainEqual(
    expect.stringMatching(/^obq: must keep at least 5 points more of the accuracy than rtn/),
  )
})
