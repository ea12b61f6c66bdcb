import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { setDisk, systemDisk } from '../formats/disk.ts'
import { type StepName, stoppingDisk } from '../formats/fragile_disk.suite.ts'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { AbortError } from '../tensor/errors.ts'
import { currentKernels, randomStream } from '../tensor/index.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import type { ProgressEvent } from './progress.ts'

let folder: string
let text: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'baselines-test-'))
  process.env.PARE_HOME = join(folder, 'home')
  text = join(folder, 'text.txt')
  const words = randomStream(1, 'text').bits([1000]).toArray() as Uint32Array
  writeFileSync(text, Array.from(words, (word) => 'abcdefghijklmnopqrstuvwxy \n'[word % 27]).join(''))
})
afterEach(() => void setDisk(systemDisk))
afterAll(() => {
  delete process.env.PARE_HOME
  rmSync(folder, { recursive: true })
})

let count = 0
const options = (extra: Partial<CompressOptions> = {}): CompressOptions => ({
  source: fixturePath('llama-f16.gguf'),
  output: join(folder, `out-${++count}`),
  target: 'pare',
  bits: 3,
  groupSize: 16,
  calibration: [text],
  samples: 2,
  length: 32,
  text: [text],
  context: 32,
  windows: 2,
  sideBySide: false,
  ...extra,
})

test('round to nearest stands beside another method, as a run of its own gives it', async () => {
  for (const kind of [
    {},
    { target: 'gguf', bits: undefined, groupSize: undefined, scheme: 'Q4_0' },
    { actOrder: true, staticGroups: false },
  ]) {
    const asked = options(kind as Partial<CompressOptions>)
    const { baselines } = await compress(asked)
    const { actOrder: _, staticGroups: __, ...plain } = options(kind as Partial<CompressOptions>)
    const own = await compress({ ...plain, method: 'rtn' })
    const { bytes, bitsPerWeight, kl, perplexity } = own
    expect(baselines).toEqual([{ name: 'round to nearest', bytes, bitsPerWeight, kl, perplexity }])
    expect(own.baselines).toBeUndefined()
    expect(readFileSync(join(asked.output, 'README.md'), 'utf8')).toContain('| round to nearest |')
    expect(readFileSync(join(asked.output, 'report.html'), 'utf8')).toContain('round to nearest')
  }
})
test('the share of a phase never falls, through checks and baseline too', async () => {
  const shares: { phase: string; share: number; text: string }[] = []
  await compress(options(), {
    progress: (event) => event.kind === 'progress' && shares.push(event),
  })
  // The source is read to know it again before the work begins, in the phase of the checks.
  const phases = new Map<string, number[]>()
  for (const { phase, share, text } of shares)
    if (text !== 'the files of the source') phases.set(phase, [...(phases.get(phase) ?? []), share])
  expect([...phases.keys()]).toEqual(expect.arrayContaining(['compress', 'verify', 'evaluate', 'baseline']))
  for (const [phase, found] of phases) {
    expect(found, phase).toEqual(found.toSorted((a, b) => a - b))
    expect(Math.max(...found), phase).toBeLessThanOrEqual(1)
  }
})
test('nothing does where the result is not evaluated, or none is wanted', async () => {
  for (const extra of [{ evaluate: false }, { baselines: false }])
    expect(await compress(options(extra))).not.toHaveProperty('baselines')
})
test('with a size it is the uniform mix, which a run with its overrides gives too', async () => {
  const asked = options({
    method: 'rtn',
    bits: undefined as never,
    sensitivity: 'error',
    limits: { targetBpw: 9 },
  })
  const report = await compress(asked)
  const [baseline] = report.baselines!
  const [, base, raised, next] = /^uniform mix: (\d) bits, (\d+) of 14 matrices (\d) bits$/.exec(
    baseline!.name,
  )!
  expect(baseline!.bytes).toBeLessThanOrEqual(report.mix!.bytes)
  const names = report.layers.map(({ name }) => name)
  // The next level goes to matrices in the order of the file as long as it fits.
  const own = await compress(
    options({
      method: 'rtn',
      bits: Number(base),
      evaluate: false,
      overrides: [{ match: names[0]!, bits: Number(next) }],
    }),
  )
  expect(own.bytes).toBeLessThanOrEqual(baseline!.bytes)
  expect(Number(raised)).toBeGreaterThan(0)
})
test('a run that is stopped in it goes on there, and leaves nothing of it', async () => {
  const steps: StepName[] = []
  setDisk(stoppingDisk(Number.POSITIVE_INFINITY, steps))
  const whole = await compress(options())
  setDisk(systemDisk)
  const tensors = currentKernels().memory().tensors
  const asked = options()
  const controller = new AbortController()
  const phases: string[] = []
  const progress = (event: ProgressEvent) => {
    if (event.kind === 'progress' && event.phase === 'baseline' && event.share > 0.5) controller.abort()
  }
  await expect(compress(asked, { signal: controller.signal, progress })).rejects.toThrow(AbortError)
  expect(readdirSync(join(asked.output, '.pare'))).toContain('baseline')
  expect(currentKernels().memory().tensors).toBe(tensors)
  const report = await compress(asked, {
    progress: (event) => {
      if (event.kind === 'progress') phases.push(`${event.phase} ${event.share}`)
    },
  })
  expect(report.baselines).toEqual(whole.baselines)
  expect(phases).not.toContain('baseline 0')
  expect(existsSync(join(asked.output, '.pare'))).toBe(false)
  // Killed at steps of the disk, of which the second half are mostly those of the baseline.
  const stops = steps.flatMap((step, at) => (step === 'remove' || at % 29 === 0 ? [at] : []))
  for (const stop of stops.filter((at) => at > steps.length / 2)) {
    const killed = options()
    setDisk(stoppingDisk(stop))
    await expect(compress(killed), `step ${stop}`).rejects.toThrow()
    setDisk(systemDisk)
    const { baselines, files } = await compress(killed)
    expect([baselines, files, existsSync(join(killed.output, '.pare'))], `step ${stop}`).toEqual([
      whole.baselines,
      whole.files,
      false,
    ])
  }
})
test('whoever does not want to wait for it goes on without it', async () => {
  const asked = options()
  const controller = new AbortController()
  const progress = (event: ProgressEvent) => {
    if (event.kind === 'progress' && event.phase === 'baseline') controller.abort()
  }
  await expect(compress(asked, { signal: controller.signal, progress })).rejects.toThrow(AbortError)
  const report = await compress({ ...asked, baselines: false })
  expect(report).not.toHaveProperty('baselines')
  expect(existsSync(join(asked.output, '.pare'))).toBe(false)
})
