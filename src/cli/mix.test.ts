/** `--target-size` and `--target-bpw`: a width for every matrix, from measurement to the file. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { compress } from '../run/compress.ts'
import { type CompressionPlan, plan } from '../run/plan.ts'
import type { ProgressEvent } from '../run/progress.ts'
import { AbortError, type ResourceError } from '../tensor/errors.ts'
import { currentKernels } from '../tensor/index.ts'
import { mixRuns } from './mix_runs.suite.ts'

const { folder, options, cacheFile, bytesOf, measuring } = mixRuns()

test.each([
  ['pare', [4.5, 6, 8]],
  ['gguf', [6, 7.5]],
] as const)(
  '%s: the file is at most as large as asked for, at most 1% smaller, and as planned',
  async (target, sizes) => {
    for (const targetBpw of sizes) {
      const asked = options({ target, limits: { targetBpw } })
      const { report, size, plans } = await measuring(asked)
      const { parameters, bytesRange } = plans[0]!
      const budget = Math.floor((targetBpw * parameters) / 8)
      expect(bytesRange!.most).toBe(budget)
      expect(size).toBeLessThanOrEqual(budget)
      expect(size).toBeGreaterThanOrEqual(bytesRange!.least)
      expect(size).toBeGreaterThanOrEqual(0.99 * budget)
      expect([report.bytes, plans[1]!.bytes, plans[1]!.bytesRange]).toEqual([size, size, undefined])
      expect(report.mix).toMatchObject({ bytes: budget, sensitivity: 'measured', windows: 2 })
      expect(Object.values(report.mix!.levels).reduce((a, b) => a + b)).toBe(14)
    }
  },
)
test('a size in bytes is met as one in bits is', async () => {
  const { size } = await measuring(options({ limits: { targetSize: 70_000 } }))
  expect(size).toBeLessThanOrEqual(70_000)
  expect(size).toBeGreaterThanOrEqual(69_300)
})

describe('what was measured', () => {
  const sizes = { limits: { targetBpw: 6.5 } }
  test('is kept: another size measures nothing, and the plan knows the mix', async () => {
    process.env.PARE_HOME = join(folder, 'home-kept')
    const open = await plan(options(sizes))
    expect(open.bytesRange).toBeDefined()
    expect(open.notes.join()).toMatch(/the data decides which of 14 matrices gets which width/)
    const first = await measuring(options({ limits: { targetBpw: 5 } }))
    expect(first.steps).toBeGreaterThan(0)
    const second = await measuring(options(sizes))
    expect(second.steps).toBe(0)
    const known = await plan(options(sizes))
    expect([known.bytes, known.bytesRange, known.rules]).toEqual([second.size, undefined, []])
    // Other data, another method and another way to compare are measured anew.
    for (const other of [
      { seed: 1 },
      { method: 'gptq' },
      { sensitivity: 'error' },
      { sensitivityWindows: 1 },
      { groupSize: 16 },
    ] as const)
      expect((await measuring(options({ ...sizes, ...other }))).steps, JSON.stringify(other)).toBeGreaterThan(
        0,
      )
  })
  test('is measured again where its line is cut, foreign or about something else', async () => {
    process.env.PARE_HOME = join(folder, 'home-cut')
    const whole = await measuring(options(sizes))
    const path = cacheFile()
    const text = readFileSync(path, 'utf8')
    const lines = text.trimEnd().split('\n')
    expect(lines).toHaveLength(14 * 4)
    const swapped = { ...JSON.parse(lines[0]!), weight: 'another' }
    const far = { ...JSON.parse(lines[1]!), kl: 'far' }
    writeFileSync(
      path,
      `\0\n{"kind":"run"}\n[]\n${JSON.stringify(swapped)}\n${JSON.stringify(far)}\n${lines.slice(2, -1).join('\n')}\n${lines.at(-1)!.slice(0, 30)}`,
    )
    const again = await measuring(options(sizes))
    expect(again.steps).toBeGreaterThan(0)
    expect(again.steps).toBeLessThan(whole.steps)
    expect(bytesOf(again)).toEqual(bytesOf(whole))
    // What was cut does not take the next line with it.
    expect(readFileSync(path, 'utf8').split('\n')).toEqual(
      expect.arrayContaining([lines[0], lines[1], lines.at(-1)]),
    )
    expect((await measuring(options(sizes))).steps).toBe(0)
  })
  test('is kept stage by stage: who stops in the middle goes on there, and nothing else stays behind', async () => {
    process.env.PARE_HOME = join(folder, 'home-whole')
    const whole = await measuring(options(sizes))
    process.env.PARE_HOME = join(folder, 'home-stopped')
    const tensors = currentKernels().memory().tensors
    const asked = options(sizes)
    const controller = new AbortController()
    const progress = (event: ProgressEvent) => {
      if (event.kind === 'progress' && event.phase === 'measure' && event.text.includes('layers.1.'))
        controller.abort()
    }
    await expect(compress(asked, { signal: controller.signal, progress })).rejects.toThrow(AbortError)
    expect(existsSync(asked.output)).toBe(false)
    expect(currentKernels().memory().tensors).toBe(tensors)
    expect(readFileSync(cacheFile(), 'utf8').trimEnd().split('\n')).toHaveLength(7 * 4)
    const rest = await measuring(asked)
    expect(rest.steps).toBeLessThan(whole.steps / 2)
    expect(bytesOf(rest)).toEqual(bytesOf(whole))
  })
})

describe('the plan of a size', () => {
  const asked = options({ limits: { targetBpw: 6 }, evaluate: true })
  const phasesOf = ({ seconds }: CompressionPlan) => seconds!.phases.map(({ phase }) => phase)
  const memoryOf = ({ memory }: CompressionPlan) => memory.map(({ phase }) => phase)

  test('covers what is still to be measured, its memory and its time, and the run behind it', async () => {
    process.env.PARE_HOME = join(folder, 'home-planned')
    const open = await plan(asked)
    expect(memoryOf(open)).toEqual([
      'start',
      'measure',
      'compress',
      'write',
      'verify',
      'evaluate',
      'sample',
      'speed',
    ])
    expect(phasesOf(open)).toEqual(
      ['verify', 'measure', 'compress', 'write', 'evaluate', 'sample', 'speed', 'baseline'].toSpliced(
        2,
        0,
        'calibrate',
      ),
    )
    const { report, plans } = await measuring(asked)
    expect(plans.map(({ seconds }) => seconds!.phases.some(({ phase }) => phase === 'measure'))).toEqual([
      true,
      false,
    ])
    // The process was as large as its measurement.
    expect(memoryOf(plans[1]!)).toContain('measure')
    expect(report.plannedMemoryBytes).toBe(plans[1]!.peakMemoryBytes)
    const known = await plan(asked)
    expect(memoryOf(known)).toEqual(['start', 'compress', 'write', 'verify', 'evaluate', 'sample', 'speed'])
    expect(phasesOf(known)).not.toContain('measure')
    expect(phasesOf(known)).toContain('baseline')
  })
  test('says why it tells no time', async () => {
    process.env.PARE_HOME = join(folder, 'home-silent')
    const silent = { ...asked, probe: false, evaluate: false, output: `${asked.output}-silent` }
    expect((await plan(silent)).secondsMissing).toMatch(/--no-probe/)
    await measuring(silent)
    const { plans } = await measuring({ ...silent, restart: true })
    expect(plans.map(({ secondsMissing }) => secondsMissing)).toEqual([
      expect.stringMatching(/nothing is left to measure/),
      expect.stringMatching(/--no-probe/),
    ])
  })
})
describe('under a limit of memory', () => {
  test('the same is measured, and a run that cannot is refused before it measures', async () => {
    process.env.PARE_HOME = join(folder, 'home-free')
    const free = await measuring(options({ limits: { targetBpw: 6 }, method: 'gptq' }))
    const measured = readFileSync(cacheFile(), 'utf8')
    process.env.PARE_HOME = join(folder, 'home-limited')
    const asked = (maxMemory: number) => options({ limits: { targetBpw: 6, maxMemory }, method: 'gptq' })
    const error = await measuring(asked(60e6)).then(
      () => expect.unreachable('it was measured'),
      (cause: ResourceError) => cause,
    )
    expect(error).toMatchObject({ code: 'PARE_E_MEMORY', exitCode: 5, facts: { maxMemory: 60e6 } })
    expect(existsSync(join(folder, 'home-limited', 'cache/sensitivities'))).toBe(false)
    // The process of the tests is larger than one of Pare.
    const limited = await measuring(asked(process.memoryUsage.rss() + 500e6))
    expect(readFileSync(cacheFile(), 'utf8')).toBe(measured)
    expect(bytesOf(limited)).toEqual(bytesOf(free))
  })
})
