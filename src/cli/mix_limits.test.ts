/** Runs for a size that stop, that are limited by other options, and sizes that cannot be met. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { compress } from '../run/compress.ts'
import type { CompressOptions } from '../run/compress_options.ts'
import type { ProgressEvent } from '../run/progress.ts'
import { fromRecipe } from '../run/recipe_options.ts'
import { AbortError, OptionError, StateError } from '../tensor/errors.ts'
import { mixRuns } from './mix_runs.suite.ts'

const { folder, options, bytesOf, measuring } = mixRuns()

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
