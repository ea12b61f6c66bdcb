/** `--target-size` and `--target-bpw`: a width for every matrix, from measurement to the file. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { compress } from '../run/compress.ts'
import type { CompressOptions } from '../run/compress_options.ts'
import { type CompressionPlan, plan } from '../run/plan.ts'
import type { ProgressEvent } from '../run/progress.ts'
import { fromRecipe } from '../run/recipe_options.ts'
import { AbortError, OptionError, type ResourceError, StateError } from '../tensor/errors.ts'
import { currentKernels } from '../tensor/index.ts'
import { writeTinyFolder, writeTinyGguf } from './tiny_model.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'mix-test-'))
afterAll(() => rmSync(folder, { recursive: true }))
const model = join(folder, 'tiny.gguf')
const huggingFace = join(folder, 'hf')
const home = join(folder, 'home')
const before = process.env.PARE_HOME
beforeAll(() => {
  writeTinyGguf(model)
  writeTinyFolder(huggingFace)
})
beforeEach(() => {
  process.env.PARE_HOME = home
})
afterEach(() => {
  if (before === undefined) delete process.env.PARE_HOME
  else process.env.PARE_HOME = before
})

let count = 0
const options = (extra: Partial<CompressOptions> = {}): CompressOptions => ({
  source: model,
  output: join(folder, `out-${++count}`),
  target: 'pare',
  embedding: 'Q8_0',
  method: 'rtn',
  samples: 2,
  length: 32,
  sensitivityWindows: 2,
  context: 32,
  windows: 2,
  evaluate: false,
  ...extra,
})
const weightFile = (output: string) =>
  join(output, readdirSync(output).find((name) => /\.(gguf|safetensors)$/.test(name))!)
const cacheFile = () => {
  const place = join(process.env.PARE_HOME!, 'cache/sensitivities')
  return join(place, readdirSync(place)[0]!)
}
const bytesOf = ({ report }: { report: { output: string } }) => readFileSync(weightFile(report.output))
/** Runs and says how many levels were measured. */
async function measuring(asked: CompressOptions) {
  let steps = 0
  const plans: CompressionPlan[] = []
  const report = await compress(asked, {
    progress: (event) => {
      if (event.kind === 'plan') plans.push(event.plan)
      // Of the source alone, the text is the name of a stage.
      if (event.kind === 'progress' && event.phase === 'measure' && event.text.startsWith('model.'))
        steps += 1
    },
  })
  return { report, steps, plans, size: statSync(weightFile(asked.output)).size }
}

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
    expect(memoryOf(open)).toEqual(['start', 'measure', 'compress', 'write', 'verify', 'evaluate', 'sample'])
    expect(phasesOf(open)).toEqual(
      ['verify', 'measure', 'compress', 'write', 'evaluate', 'sample', 'baseline'].toSpliced(
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
    expect(memoryOf(known)).toEqual(['start', 'compress', 'write', 'verify', 'evaluate', 'sample'])
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
describe('a run for a size', () => {
  test('that was stopped goes on with its mix to the same bytes, also where the cache is gone', async () => {
    const asked = options({ limits: { targetBpw: 5.5 }, method: 'gptq' })
    const whole = await measuring({ ...asked, output: join(folder, 'whole') })
    const controller = new AbortController()
    const progress = (event: ProgressEvent) => {
      if (event.kind === 'progress' && event.phase === 'compress' && event.text === 'block.1')
        controller.abort()
    }
    await expect(compress(asked, { signal: controller.signal, progress })).rejects.toThrow(AbortError)
    process.env.PARE_HOME = join(folder, 'home-empty')
    await expect(compress({ ...asked, seed: 1 })).rejects.toThrow(StateError)
    await expect(compress({ ...asked, limits: { targetBpw: 6 } })).rejects.toThrow(
      /limits\.targetBpw was 5\.5 and is 6/,
    )
    const rest = await measuring(asked)
    expect(rest.steps).toBe(0)
    expect(bytesOf(rest)).toEqual(bytesOf(whole))
    // A finished one is known again too.
    expect((await measuring(asked)).steps).toBe(0)
    expect(existsSync(join(folder, 'home-empty'))).toBe(false)
  })
  test.each([
    ['pare', 'gptq'],
    ['gguf', 'rtn'],
  ] as const)('leaves a recipe without a size that gives the same bytes: %s, %s', async (target, method) => {
    const asked = options({
      target,
      method,
      limits: { targetBpw: 7, maxKl: 9 },
      evaluate: true,
      baselines: false,
    })
    const first = await measuring(asked)
    const recipe = JSON.parse(readFileSync(join(asked.output, 'recipe.json'), 'utf8'))
    expect(recipe.limits).toEqual({ maxKl: 9 })
    expect(recipe).not.toHaveProperty('levels')
    expect(recipe.overrides).toHaveLength(14)
    process.env.PARE_HOME = join(folder, 'home-empty')
    const second = await measuring({ ...fromRecipe(recipe), output: `${asked.output}-again` })
    expect([second.steps, second.report.kl]).toEqual([0, first.report.kl])
    expect(bytesOf(second)).toEqual(bytesOf(first))
  })
  test('takes its levels from those that are allowed', async () => {
    const pare = await measuring(options({ levels: [3, 8], limits: { targetBpw: 6 } }))
    expect(Object.keys(pare.report.mix!.levels).sort()).toEqual(['3', '8'])
    const gguf = await measuring(
      options({ target: 'gguf', levels: ['q8_0', 'Q4_0'], limits: { targetBpw: 6 } }),
    )
    expect(Object.keys(gguf.report.mix!.levels).sort()).toEqual(['Q4_0', 'Q8_0'])
  })
  test('leaves to overrides what they settle, and keeps the rest of what they say', async () => {
    const { plans, report } = await measuring(
      options({
        limits: { targetBpw: 7 },
        overrides: [
          { match: 'model.layers.0.mlp', bits: 2 },
          { match: 'model.layers.1.self_attn.q_proj', keep: true },
          { match: 'model.layers.1.mlp', groupSize: 16 },
        ],
      }),
    )
    const typeOf = (part: string) => plans[1]!.tensors.find(({ name }) => name.includes(part))!.type
    expect(typeOf('0.mlp.up_proj')).toBe('2 bits, groups of 64')
    expect(typeOf('1.self_attn.q_proj')).toBe('F16')
    expect(typeOf('1.mlp.up_proj')).toMatch(/^[2348] bits, groups of 16$/)
    expect(Object.values(report.mix!.levels).reduce((a, b) => a + b)).toBe(10)
    // Rules are those of the user.
    expect(plans[1]!.rules).toHaveLength(3)
  })
  test('compares widths by the output that they lose, too, with one pass over the model', async () => {
    for (const method of ['rtn', 'gptq'] as const) {
      const { steps, report } = await measuring(
        options({ method, sensitivity: 'error', limits: { targetBpw: 6 } }),
      )
      expect(steps).toBe(14 * 4)
      expect(report.mix).not.toHaveProperty('windows')
    }
  })
})

describe('a size that cannot be met', () => {
  const refused = async (extra: Partial<CompressOptions>) => {
    const asked = options(extra)
    const error = await compress(asked).then(
      () => expect.unreachable('it was met'),
      (cause: OptionError) => cause,
    )
    expect(error).toBeInstanceOf(OptionError)
    expect(existsSync(asked.output)).toBe(false)
    return error
  }
  test('is refused with the range in the unit that was asked for, whose ends are possible', async () => {
    for (const targetBpw of [1, 12]) {
      const { code, message } = await refused({ limits: { targetBpw } })
      expect(code).toBe('PARE_E_BUDGET')
      expect(message).toMatch(
        /^--target-bpw: \d\.\d+ to \d\.\d+ bits a weight .* got (1|12); ask for (more|less)/,
      )
    }
    const { message, facts } = await refused({ limits: { targetSize: 1000 } })
    expect(message).toMatch(/^--target-size: \d+ to \d+ bytes are possible .* got 1000;/)
    for (const end of ['least', 'most'])
      expect((await measuring(options({ limits: { targetSize: facts[end] as number } }))).size).toBe(
        facts[end],
      )
  })
  test.each<[string, Partial<CompressOptions>, RegExp]>([
    ['two sizes', { limits: { targetBpw: 4, targetSize: 1e5 } }, /--target-bpw asks for a size too/],
    [
      'one width a file',
      { target: 'gptq', embedding: undefined as never, limits: { targetBpw: 4 } },
      /one bit width for all/,
    ],
    ['no such bits', { levels: [3, 5], limits: { targetBpw: 4 } }, /--levels: there is no 5 .* 2, 3, 4, 8/],
    ['no such type', { target: 'gguf', levels: ['Q9_K'], limits: { targetBpw: 4 } }, /no Q9_K .*Q4_K/],
    ['levels without a size', { levels: [3] }, /--levels: .*give --target-size or --target-bpw/],
    [
      'nothing to choose',
      { overrides: [{ match: 'model.layers', bits: 4 }], limits: { targetBpw: 6 } },
      /settle the width of every/,
    ],
    [
      'a row that no level fits',
      { target: 'gguf', fallback: false, levels: ['Q4_K'], limits: { targetBpw: 6 } },
      /has rows of \d+, which none of Q4_K fits/,
    ],
  ])('%s', async (_, extra, message) => {
    expect((await refused(extra)).message).toMatch(message)
  })
})
