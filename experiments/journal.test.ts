import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { appendRun, isRunOf, latestRuns, readJournal } from './journal.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-journal-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('runs come back in their order; a line that was cut short is left out, and what follows it stays whole', () => {
  const file = join(folder, 'x.runs.jsonl')
  expect(readJournal(file)).toEqual([])
  appendRun(file, { seed: 0 })
  writeFileSync(file, `${readFileSync(file, 'utf8')}{"seed": 1, "sco`)
  const said: string[] = []
  expect(readJournal(file, (text) => said.push(text))).toEqual([{ seed: 0 }])
  expect(said).toEqual(['x.runs.jsonl: a line is cut short and is left out'])
  appendRun(file, { seed: 2 })
  expect(readJournal(file)).toEqual([{ seed: 0 }, { seed: 2 }])
})
test('a run is that of a job where all fields of the job are the same, at any depth', () => {
  const job = { seed: 0, setup: { epochs: 2, data: 'digits' } }
  expect(isRunOf({ ...job, score: 1 }, job)).toBe(true)
  expect(isRunOf({ ...job, seed: 1 }, job)).toBe(false)
  expect(isRunOf({ ...job, setup: { epochs: 3, data: 'digits' } }, job)).toBe(false)
  expect(isRunOf({ seed: 0, score: 1 }, job)).toBe(false)
  expect(isRunOf({ seed: 0, setup: null }, job)).toBe(false)
})
test('of each job the latest run of the same sources is taken, in the order of the jobs', () => {
  const run = (seed: number, sources: string, score: number) => ({ seed, sources, score })
  const runs = [run(1, 'now', 1), run(0, 'now', 2), run(0, 'now', 3), run(2, 'old', 4)]
  const jobs = [{ seed: 0 }, { seed: 1 }, { seed: 2 }]
  expect(latestRuns(runs, jobs, 'now').map(({ score }) => score)).toEqual([3, 1])
})
