import { afterAll, expect, test } from 'vitest'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../models/load_model.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { AbortError } from '../tensor/errors.ts'
import { currentKernels } from '../tensor/index.ts'
import { type CompressOptions, resolveOptions } from './compress_options.ts'
import { probeKernels } from './kernel_probe.ts'
import { plan } from './plan.ts'
import { runFacts } from './run_facts.ts'
import { kernelsOf } from './run_work.ts'
import { planTarget } from './target_plan.ts'
import { timeRange } from './time_plan.ts'

const source = fixturePath('llama-f16.gguf')
const open: OpenLanguageModel[] = []
afterAll(() => {
  for (const model of open) model.close()
})
const factsOf = (extra: Partial<CompressOptions>) => {
  const options = resolveOptions({ source, output: 'out', ...extra })
  const model = openLanguageModel(options.source)
  open.push(model)
  return runFacts(model, planTarget(model, options), options)
}
const runs: [string, Partial<CompressOptions>][] = [
  ['gguf', { target: 'gguf', scheme: 'IQ4_NL' }],
  ['gguf, a type that stands in', { target: 'gguf', scheme: 'Q3_K' }],
  [
    'gptq, from such a checkpoint',
    { source: fixturePath('llama-gptq-3'), target: 'gptq', groupSize: 16, bits: 4 },
  ],
  ['AWQ', { target: 'transformers', format: 'awq', groupSize: 'row' }],
  ['compressed-tensors', { target: 'transformers', bits: 3, groupSize: 'row' }],
  ['pare', { bits: 2, groupSize: 'row', symmetric: true, embedding: 'Q8_0' }],
  ['round to nearest', { method: 'rtn', evaluate: false }],
  [
    'two steps',
    {
      steps: [
        { method: 'rtn', bits: 8 },
        { method: 'gptq', bits: 4 },
      ],
    },
  ],
]

test.each(runs)('%s: every kernel that is asked for has a rate, quick before slow', async (_, extra) => {
  const facts = factsOf(extra)
  const rates = await probeKernels(facts)
  expect([...rates.keys()]).toEqual(kernelsOf(facts))
  for (const [name, { low, middle, high }] of rates) {
    expect(low, name).toBeGreaterThan(0)
    expect(middle, name).toBeGreaterThanOrEqual(low)
    expect(high, name).toBeGreaterThanOrEqual(middle)
  }
  const { from, to } = timeRange(facts, rates, { threads: 1 })
  expect(to).toBeGreaterThanOrEqual(2)
  expect(Number.isFinite(from)).toBe(true)
})
test('tells what it measures, leaves no tensor behind, and stops when it is told to', async () => {
  const facts = factsOf({ bits: 3 })
  const before = currentKernels().memory().live
  const heard: string[] = []
  await probeKernels(facts, { progress: (event) => event.kind === 'progress' && heard.push(event.text) })
  expect(heard).toEqual([...kernelsOf(facts), ...kernelsOf(facts)])
  expect(currentKernels().memory().live).toBe(before)
  await expect(probeKernels(facts, { signal: AbortSignal.abort() })).rejects.toThrow(AbortError)
})
test('the plan holds the range, or says why it has none', async () => {
  const measured = await plan({ source })
  expect(measured.seconds!.to).toBeGreaterThan(measured.seconds!.from)
  expect(measured.secondsMissing).toBeUndefined()
  const { seconds, secondsMissing, memory, ...rest } = await plan({ source, probe: false })
  expect([seconds, secondsMissing]).toEqual([undefined, expect.stringMatching(/--no-probe/)])
  const { seconds: _, memory: withKernels, ...others } = measured
  expect(rest).toEqual({ ...others, recipe: { ...measured.recipe, probe: false } })
  // Kernels are measured before the run begins, and take memory only then.
  expect(memory.slice(1)).toEqual(withKernels.slice(1))
  expect(memory[0]!.bytes).toBeLessThan(withKernels[0]!.bytes)
})
