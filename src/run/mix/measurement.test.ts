import { afterEach, beforeEach, expect, test } from 'vitest'
import { type EvaluationSplit, usualSplit } from '../../metrics/language.ts'
import { fixturePath, numbers } from '../../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../../models/load_model.ts'
import type { OpenLanguageModel } from '../../models/open_model.ts'
import { runStage } from '../../models/stage.ts'
import { denseSource } from '../../nn/weight_source.ts'
import { rtn } from '../../quantize/rtn.ts'
import { currentKernels, scope } from '../../tensor/index.ts'
import { resolveOptions } from '../compress_options.ts'
import { stepsAsMethod } from '../step_sequence.ts'
import { type MeasuredLevel, measureLevels } from './measurement.ts'
import { type MixChoice, mixSpace } from './mix_space.ts'

let source: OpenLanguageModel
beforeEach(() => {
  source = openLanguageModel(fixturePath('llama-f16.gguf'))
})
afterEach(() => source.close())

const sequence = (seed: number, length = 16) =>
  Uint32Array.from({ length }, (_, i) => (seed * 31 + i * i * 7 + i) % 27)
const windows = [sequence(1), sequence(2), sequence(3)]
const samples = [sequence(4, 24), sequence(5, 24)]

async function measured(
  how: 'measured' | 'error',
  method: 'rtn' | 'gptq',
  batchSplit = false,
  split?: EvaluationSplit,
) {
  const options = resolveOptions({
    source: 'm',
    output: 'o',
    method,
    groupSize: 16,
    levels: [2, 4],
    limits: { targetBpw: 8 },
  })
  const space = mixSpace(source, options, options.mix!)
  const stages: MeasuredLevel[][] = []
  const shares: number[] = []
  await measureLevels({
    source,
    method: stepsAsMethod(options.steps, [...source.weights.infos.keys()]),
    how,
    samples,
    windows: batchSplit ? [...windows.slice(0, 2), windows[2]!.slice(0, 12)] : windows,
    wanted: new Map(space.items.map(({ name, choices }) => [name, choices])),
    found: (levels) => stages.push([...levels]),
    hooks: {
      progress: (event) => {
        if (event.kind === 'progress') shares.push(event.share)
      },
    },
    ...(split ? { split } : {}),
  })
  return { stages, all: stages.flat(), space, shares }
}

/** The logits of a window; `weight` is rounded to nearest at a level first. */
function logits(ids: Uint32Array, weight?: string, choice?: MixChoice): number[] {
  return scope(() => {
    const { model } = source
    let hidden = model.embed(ids)
    for (const plan of model.stages) {
      const stage = plan.load()
      for (const linear of stage.segments.flatMap(({ linears }) => linears)) {
        if (linear.name !== weight) continue
        const dense = linear.source.dense()
        const task = {
          name: weight,
          dense,
          current: dense,
          statistics: { rows: 0 },
          grid: choice!.plan.grid!,
        }
        linear.source = denseSource(rtn().compress(task).decoded!)
      }
      hidden = runStage(stage, hidden, model.context(ids.length))
    }
    return numbers(model.loadHead().logits(hidden))
  })
}

function klOf(expected: readonly number[], own: readonly number[], tokens: number): number {
  const width = expected.length / tokens
  const logChances = (row: readonly number[]) => {
    const most = Math.max(...row)
    const sum = row.reduce((total, value) => total + Math.exp(value - most), 0)
    return row.map((value) => value - most - Math.log(sum))
  }
  let total = 0
  for (let token = 0; token < tokens; token++) {
    const [a, b] = [expected, own].map((all) => logChances(all.slice(token * width, (token + 1) * width)))
    for (const [i, value] of a!.entries()) total += Math.exp(value) * (value - b![i]!)
  }
  return total / tokens
}

test('the KL of a level is that of whole models, the source and one with that weight rounded', async () => {
  const { all, stages, space } = await measured('measured', 'rtn')
  expect(stages.map((levels) => levels.length)).toEqual([14, 14])
  expect(new Set(all.map(({ weight }) => weight))).toEqual(new Set(space.items.map(({ name }) => name)))
  for (const part of ['0.self_attn.q_proj', '0.mlp.down_proj', '1.self_attn.v_proj', '1.mlp.down_proj']) {
    const weight = `model.layers.${part}.weight`
    const choice = space.items.find(({ name }) => name === weight)!.choices[0]!
    const found = all.find((each) => each.weight === weight && each.level === '2')!
    const means = windows.map((ids) => klOf(logits(ids), logits(ids, weight, choice), ids.length))
    const mean = means.reduce((sum, value) => sum + value, 0) / means.length
    const variance = means.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (means.length - 1)
    const { kl, standardError } = found as { kl: number; standardError: number }
    // Sums of 32 f32 terms near 1: some 1e-6.
    expect(kl).toBeCloseTo(mean, 5)
    expect(standardError).toBeCloseTo(Math.sqrt(variance / means.length), 5)
    expect(kl).toBeGreaterThan(0)
  }
})
test('more bits are nearer to the source', async () => {
  for (const method of ['rtn', 'gptq'] as const) {
    const { all } = await measured('measured', method)
    const sum = (level: string) =>
      all.reduce((total, each) => total + (each.level === level ? (each as { kl: number }).kl : 0), 0)
    expect(sum('4')).toBeLessThan(sum('2') / 2)
  }
})
test('windows of other lengths, which run in batches of their own, are measured too', async () => {
  const { all } = await measured('measured', 'rtn', true)
  for (const found of all) expect(Number.isFinite((found as { kl: number }).kl)).toBe(true)
})
test.each([
  ['measured', 'rtn'],
  ['measured', 'gptq'],
  ['error', 'gptq'],
] as const)(
  'smaller pieces and files of hidden states measure the same, bit for bit: %s, %s',
  async (how, method) => {
    const whole = await measured(how, method)
    for (const split of [
      { ...usualSplit, batchTokens: 16 },
      { ...usualSplit, stateBytes: 0 },
      { ...usualSplit, logitRows: 32 },
      { batchTokens: 32, stateBytes: 3000, logitRows: 32, headRows: 10 },
    ])
      expect((await measured(how, method, false, split)).all, JSON.stringify(split)).toEqual(whole.all)
  },
)
test('the share that is done grows with each step, to all', async () => {
  for (const [how, method] of [
    ['measured', 'rtn'],
    ['measured', 'gptq'],
    ['error', 'rtn'],
  ] as const) {
    const { shares } = await measured(how, method)
    expect(shares).toEqual(shares.toSorted((a, b) => a - b))
    expect(shares[0]).toBeGreaterThan(0)
    // Sums of multiply-adds in another order.
    expect(shares.at(-1)).toBeCloseTo(1, 9)
  }
})
test('what a matrix loses is the share of its output and how large that is', async () => {
  const [nearest, gptq] = [await measured('error', 'rtn'), await measured('error', 'gptq')]
  for (const [i, found] of nearest.all.entries()) {
    const { relativeError, energy, weight, level } = found as Extract<MeasuredLevel, { energy: number }>
    const other = gptq.all[i] as typeof found & { relativeError: number; energy: number }
    expect([other.weight, other.level, other.energy]).toEqual([weight, level, energy])
    expect(relativeError).toBeGreaterThan(0)
    expect(energy).toBeGreaterThan(0)
  }
  const sum = ({ all }: typeof nearest) =>
    all.reduce((total, each) => total + (each as { relativeError: number }).relativeError, 0)
  expect(sum(gptq)).toBeLessThan(sum(nearest))
})
test('the weights of the source are as they were, and no tensor is left', async () => {
  const before = currentKernels().memory().tensors
  const first = await measured('measured', 'gptq')
  expect(currentKernels().memory().tensors).toBe(before)
  expect((await measured('measured', 'gptq')).all).toEqual(first.all)
})
