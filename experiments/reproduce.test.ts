import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { Experiment, Job, Result, Stamp } from './experiment.ts'
import { lineFigure } from './figure.ts'
import { runExperiment } from './reproduce.ts'
import { spreadOf } from './spread.ts'

interface CountJob extends Job {
  size: number
}
interface CountRun extends CountJob, Stamp {
  score: number
}

const folders: string[] = []
const folder = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'pare-reproduce-')))
  return folders.at(-1)!
}
afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true })
})

/** Scores are the size plus the seed; `stopAt` is the measurement that is stopped. */
function counting({
  stopAt = Number.POSITIVE_INFINITY,
  failures = [] as string[],
  assets = [] as string[],
} = {}) {
  const measured: string[] = []
  const experiment: Experiment<CountJob, CountRun> = {
    name: 'counting',
    title: 'Counting',
    sources: ['package.json'],
    systems: [],
    assets: () => assets,
    jobs: ({ seeds, only }) =>
      seeds
        .flatMap((seed) => [1, 10].map((size) => ({ size, seed })))
        .filter(({ size }) => !only || only.includes(String(size))),
    describe: ({ size, seed }) => `${size}, seed ${seed}`,
    measure: async ({ size, seed }) => {
      if (measured.length >= stopAt) throw new Error('stopped')
      measured.push(`${size}, seed ${seed}`)
      return { score: size + seed }
    },
    outcome: ({ score }) => String(score),
    summary: (runs) => spreadOf(runs.map(({ score }) => score)),
    claims: ({ runs }) => [{ text: 'There are runs.', holds: runs.length > 0, found: String(runs.length) }],
    page: (_, stale) => `# Counting\n${stale}\n`,
    part: () => '',
    figures: ({ runs }) =>
      new Map([
        [
          'counting.svg',
          lineFigure(
            runs.map(({ size, score }) => ({ series: 'all', x: size, y: score, low: score, high: score })),
            { x: { title: 'size' }, y: { title: 'score' } },
          ),
        ],
      ]),
    failures: () => failures,
  }
  return { experiment, measured }
}
const recordIn = (output: string): Result<CountRun> =>
  JSON.parse(readFileSync(join(output, 'counting.json'), 'utf8'))

test('a run that was stopped goes on, and its record says commit, command, seeds, machine and spread', async () => {
  const output = folder()
  const first = counting({ stopAt: 3 })
  await expect(runExperiment(first.experiment, { output, seeds: [0, 1] })).rejects.toThrow('stopped')
  const second = counting()
  const outcome = await runExperiment(second.experiment, { output, seeds: [0, 1] })
  expect(first.measured).toEqual(['1, seed 0', '10, seed 0', '1, seed 1'])
  expect(second.measured).toEqual(['10, seed 1'])
  expect(outcome).toMatchObject({ quick: false, runs: 4, output, failures: [] })
  expect(recordIn(output)).toMatchObject({
    experiment: 'counting',
    command: 'npx --no pare reproduce counting',
    commit: expect.stringMatching(/^[0-9a-f]{12}(\+changes)?$/),
    seeds: [0, 1],
    machines: [expect.stringContaining('cores')],
    summary: { mean: 6, low: 1, high: 11, seeds: 4 },
  })
  expect(recordIn(output).runs.map(({ score }) => score)).toEqual([1, 10, 2, 11])
  expect(readdirSync(output).sort()).toEqual([
    'counting.json',
    'counting.md',
    'counting.runs.jsonl',
    'counting.svg',
  ])
})
test('some of the jobs leave the others in the record', async () => {
  const output = folder()
  await runExperiment(counting().experiment, { output, seeds: [0] })
  const { experiment, measured } = counting()
  await runExperiment(experiment, { output, seeds: [1], only: ['10'] })
  expect(measured).toEqual(['10, seed 1'])
  expect(recordIn(output).runs.map(({ score }) => score)).toEqual([1, 10, 11])
})
test('--write makes the record of the runs there are, and needs one', async () => {
  const output = folder()
  await expect(runExperiment(counting().experiment, { output, write: true })).rejects.toThrow(
    /no run is done/,
  )
  await runExperiment(counting().experiment, { output, seeds: [0], only: ['1'] })
  const { experiment, measured } = counting()
  expect((await runExperiment(experiment, { output, write: true })).runs).toBe(1)
  expect(measured).toEqual([])
})
test('a quick run has one seed, leaves nothing behind, and tells which orders it missed', async () => {
  const { experiment, measured } = counting({ failures: ['10 must be above 20'] })
  const outcome = await runExperiment(experiment, { quick: true })
  expect(measured).toEqual(['1, seed 0', '10, seed 0'])
  expect(outcome).toMatchObject({ quick: true, failures: ['10 must be above 20'], runs: 2 })
  expect(outcome).not.toHaveProperty('output')
})
test('where assets are needed and none are set it says which, before anything is measured', async () => {
  const before = process.env.PARE_ASSETS
  delete process.env.PARE_ASSETS
  try {
    const { experiment, measured } = counting({ assets: ['mnist-10k'] })
    await expect(runExperiment(experiment, { quick: true })).rejects.toThrow(
      /counting --quick: reads mnist-10k.*bash interop\/assets.sh DIR mnist-10k/,
    )
    const empty = folder()
    await expect(runExperiment(experiment, { quick: true, assets: empty })).rejects.toThrow(
      /reads mnist-10k, and .* lacks them; fill one with/,
    )
    mkdirSync(join(empty, '.sums'))
    writeFileSync(join(empty, '.sums', 'mnist-10k'), '')
    expect(measured).toEqual([])
    await runExperiment(experiment, { quick: true, assets: empty })
    expect(measured).toHaveLength(2)
  } finally {
    if (before !== undefined) process.env.PARE_ASSETS = before
  }
})
test('a second process on the same results is refused while the first works, and not after it', async () => {
  const output = folder()
  const { experiment, measured } = counting()
  const outcomes = await Promise.allSettled([
    runExperiment(experiment, { output, seeds: [0] }),
    runExperiment(experiment, { output, seeds: [0] }),
  ])
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
  expect(outcomes[1]).toMatchObject({ reason: { code: 'PARE_E_RUN_LOCKED' } })
  expect(measured).toHaveLength(2)
  expect((await runExperiment(experiment, { output, seeds: [0] })).runs).toBe(2)
})
test('jobs that fit none are refused', async () => {
  await expect(runExperiment(counting().experiment, { only: ['2'] })).rejects.toThrow(/fits none of the jobs/)
})
