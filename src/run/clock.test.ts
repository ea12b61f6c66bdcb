/** A clock that is set back or forward between two sittings, or while one lasts, changes nothing. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { setDisk, systemDisk } from '../formats/disk.ts'
import { compress } from './compress.ts'
import type { ProgressEvent } from './progress.ts'
import { diskUntil, isKilled, modelOf, smallRun, writeText } from './small_run.suite.ts'

let folder: string
let text: string
let whole: Record<string, string>
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'clock-test-'))
  text = writeText(join(folder, 'text.txt'))
  await compress(smallRun(text, join(folder, 'whole')))
  whole = modelOf(join(folder, 'whole'))
})
afterEach(() => {
  vi.useRealTimers()
  setDisk(systemDisk)
})
afterAll(() => rmSync(folder, { recursive: true }))

const start = Date.UTC(2026, 5, 1)
const hour = 3_600_000
const at = (time: number) => vi.useFakeTimers({ toFake: ['Date'], now: time })

/** Seconds of all lines of a journal that have some. */
const secondsIn = (journal: string): number[] =>
  readFileSync(journal, 'utf8')
    .trim()
    .split('\n')
    .flatMap((line) => JSON.parse(line).seconds ?? [])

const jumps: [string, number][] = [
  ['an hour back', -hour],
  ['a year forward', 365 * 24 * hour],
  ['before 1970', -start - hour],
]
test.each(jumps)('%s between two sittings: the same bytes, and seconds of work alone', async (_, jump) => {
  const output = join(folder, `jump${jump}`)
  at(start)
  setDisk(diskUntil('stage'))
  await compress(smallRun(text, output)).then(
    () => expect.unreachable('the run was not killed'),
    (error) => expect(isKilled(error)).toBe(true),
  )
  setDisk(systemDisk)
  at(start + jump)
  const began = performance.now()
  const report = await compress(smallRun(text, output))
  const sitting = (performance.now() - began) / 1000
  expect(modelOf(output)).toEqual(whole)
  const seconds = secondsIn(join(output, 'journal.jsonl'))
  expect(seconds).toEqual(seconds.toSorted((a, b) => a - b))
  expect(seconds[0]).toBeGreaterThan(0)
  // What the first sitting recorded, and this one.
  expect(report.seconds).toBeGreaterThanOrEqual(seconds[0]!)
  expect(report.seconds).toBeLessThanOrEqual(seconds[0]! + sitting)
})
test.each(jumps)(
  '%s while a run works: the same bytes, and a time line that goes forward',
  async (_, jump) => {
    const output = join(folder, `while${jump}`)
    at(start)
    const progress = (event: ProgressEvent) => {
      if (event.kind === 'progress' && event.phase === 'compress') at(start + jump)
    }
    const { timeline, memory, seconds } = await compress(smallRun(text, output), { progress })
    expect(modelOf(output)).toEqual(whole)
    for (const entry of timeline!) {
      expect(entry.seconds).toBeGreaterThanOrEqual(0)
      expect(entry.start + entry.seconds).toBeLessThanOrEqual(seconds)
    }
    const samples = memory!.map((sample) => sample.seconds)
    expect(samples).toEqual(samples.toSorted((a, b) => a - b))
  },
)
test('of files with times from the future and the past, a run goes on all the same', async () => {
  const output = join(folder, 'times')
  setDisk(diskUntil('stage'))
  await compress(smallRun(text, output)).catch((error) => expect(isKilled(error)).toBe(true))
  setDisk(systemDisk)
  for (const [i, name] of readdirSync(join(output, '.pare')).entries()) {
    const time = i % 2 === 0 ? new Date(start + 100 * 365 * 24 * hour) : new Date(0)
    utimesSync(join(output, '.pare', name), time, time)
  }
  await compress(smallRun(text, output))
  expect(modelOf(output)).toEqual(whole)
})
