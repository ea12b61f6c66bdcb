/** What a compression says while it runs and when it is done. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { QualityError } from '../tensor/errors.ts'
import { commandArguments } from './command_line.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import { compressions } from './compressions.suite.ts'
import type { ProgressEvent } from './progress.ts'
import { reportPage } from './report_page/report_page.ts'

const { options } = compressions()
/** Options that say no more of speed than `extra`. */
function plainOptions(extra: Partial<CompressOptions>): CompressOptions {
  const { speed: _, ...rest } = options(extra)
  return { ...rest, ...extra }
}

test('the page and the card stand beside the report, and hold what was recorded', async () => {
  const asked = plainOptions({ target: 'pare', bits: 3 })
  const report = await compress(asked)
  expect(report.files).toEqual(expect.arrayContaining(['README.md', 'report.html', 'report.json']))
  expect(report.command).toEqual(commandArguments(asked))
  const phases = report.timeline!.map(({ phase, stage }) => (stage ? `${phase} ${stage}` : phase))
  expect(phases).toEqual([
    'fetch',
    'probe',
    'calibrate',
    'verify',
    'compress block.0',
    'compress block.1',
    'write',
    'verify',
    'evaluate',
    'sample',
    'speed',
    'baseline',
  ])
  for (const [i, { start, seconds }] of report.timeline!.entries()) {
    expect(seconds).toBeGreaterThanOrEqual(0)
    // One after another.
    if (i > 0)
      expect(start).toBeGreaterThanOrEqual(report.timeline![i - 1]!.start + report.timeline![i - 1]!.seconds)
    expect(start + seconds).toBeLessThanOrEqual(report.seconds)
  }
  expect(report.memory!.length).toBeGreaterThan(10)
  expect(report.samples!.length).toBeGreaterThan(0)
  expect(report.parting!.positions.length).toBeGreaterThan(0)
  const page = readFileSync(join(asked.output, 'report.html'), 'utf8')
  expect(page).toBe(reportPage(report))
  expect(page).not.toContain('class="missing"')
  expect(readFileSync(join(asked.output, 'README.md'), 'utf8')).toContain('pare compress llama-f16.gguf')
})
test('texts side by side can be left out, and are where nothing is evaluated', async () => {
  for (const extra of [{ sideBySide: false }, { evaluate: false }, { evaluate: false, sideBySide: true }]) {
    const report = await compress(options({ method: 'rtn', ...extra }))
    expect(report).not.toHaveProperty('samples')
    expect(report).not.toHaveProperty('parting')
    expect(report.timeline!.map(({ phase }) => phase)).not.toContain('sample')
  }
})

test('speed is measured where texts are written side by side, and can be left out or asked for alone', async () => {
  for (const [extra, measured] of [
    [{ speed: false }, false],
    [{ sideBySide: false }, false],
    [{ sideBySide: false, speed: true }, true],
    [{ evaluate: false, speed: true }, false],
  ] as const) {
    const asked = plainOptions({ method: 'rtn', ...extra })
    const report = await compress(asked)
    expect(report.speed !== undefined, JSON.stringify(extra)).toBe(measured)
    expect(report.timeline!.some(({ phase }) => phase === 'speed')).toBe(measured)
    expect(readFileSync(join(asked.output, 'README.md'), 'utf8').includes('## Speed')).toBe(measured)
    if (!measured) continue
    expect(report.speed).toMatchObject({
      source: { form: 'decoded to floats' },
      result: { form: 'packed int8' },
    })
  }
})
test('a pruned result is read without its zeros', async () => {
  const asked = options({ method: 'magnitude', sparsity: 0.5, sideBySide: false, speed: true })
  const { speed } = await compress(asked)
  expect(speed).toMatchObject({ pruned: true, result: { form: 'packed int8', packed: 1, masked: 1 } })
  for (const name of ['README.md', 'report.html'])
    expect(readFileSync(join(asked.output, name), 'utf8')).not.toContain('No speed from zeros')
})

test('progress goes through all phases, and the plan comes first, behind what it measures', async () => {
  const events: ProgressEvent[] = []
  await compress(plainOptions({ target: 'pare' }), { progress: (event) => events.push(event) })
  const phases = events.flatMap((event) => (event.kind === 'progress' ? [event.phase] : []))
  expect([...new Set(phases)]).toEqual([
    'probe',
    'verify',
    'compress',
    'write',
    'evaluate',
    'sample',
    'speed',
    'baseline',
  ])
  expect(events.findIndex(({ kind }) => kind === 'plan')).toBeLessThan(
    events.findIndex((event) => event.kind === 'progress' && event.phase !== 'probe'),
  )
  const shares = events.flatMap((event) =>
    event.kind === 'progress' && event.phase === 'compress' ? [event.share!] : [],
  )
  expect(shares).toEqual(shares.toSorted((a, b) => a - b))
  expect(Math.max(...shares)).toBeLessThanOrEqual(1)
})

test('a run that has begun, or is finished, measures no kernels again', async () => {
  const asked = options({ target: 'pare' })
  const phases: string[][] = []
  for (const extra of [{}, {}, { restart: true }]) {
    const heard = new Set<string>()
    await compress({ ...asked, ...extra }, { progress: (e) => e.kind === 'progress' && heard.add(e.phase) })
    phases.push([...heard])
  }
  expect(phases.map((heard) => heard.includes('probe'))).toEqual([true, false, true])
})

describe('a limit to the distance from the source', () => {
  test('ends a run that is farther with an error, after the result is in its place', async () => {
    const asked = options({ method: 'rtn', target: 'pare', bits: 2, limits: { maxKl: 1e-6 } })
    const run = compress(asked)
    await expect(run).rejects.toThrow(QualityError)
    await expect(run).rejects.toThrow(/at most 0\.000001 nats a token, found /)
    expect(readdirSync(asked.output)).toContain('report.json')
    // The finished run is looked at again, with the limit of today.
    await expect(compress(asked)).rejects.toThrow(QualityError)
    expect((await compress({ ...asked, limits: { maxKl: 100 } })).kl).toBeGreaterThan(1e-6)
  })
  test('needs an evaluation', async () => {
    await expect(compress(options({ evaluate: false, limits: { maxKl: 1 } }))).rejects.toThrow(
      /--no-evaluate/,
    )
  })
})
