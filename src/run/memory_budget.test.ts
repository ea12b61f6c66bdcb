import { expect, test } from 'vitest'
import type { LlamaConfig } from '../models/llama/config.ts'
import { blockMatrices, blockName } from '../models/llama/names.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { affineGrid } from '../nn/grid.ts'
import { ResourceError } from '../tensor/errors.ts'
import { budgetOf } from './memory_budget.ts'
import { freeSplit, type MemoryTask, memoryPhases } from './memory_plan.ts'

const [hidden, inner, vocabulary, blocks] = [3072, 8192, 128_256, 28]
const config: LlamaConfig = {
  architecture: 'llama',
  hidden,
  headSize: 128,
  layers: Array.from({ length: blocks }, () => ({ heads: 24, kvHeads: 8, intermediate: inner })),
  vocabulary,
  context: 8192,
  normEpsilon: 1e-5,
  rotaryBase: 500_000,
  rotaryScaling: { kind: 'none' },
  tied: true,
  attentionBias: false,
}
const shapes = {
  'self_attn.q_proj': [hidden, hidden],
  'self_attn.k_proj': [1024, hidden],
  'self_attn.v_proj': [1024, hidden],
  'self_attn.o_proj': [hidden, hidden],
  'mlp.gate_proj': [inner, hidden],
  'mlp.up_proj': [inner, hidden],
  'mlp.down_proj': [hidden, inner],
} as const
const tensor = (name: string, shape: readonly number[], plan: Partial<TensorPlan>): TensorPlan => ({
  name,
  shape,
  role: 'matrix',
  sourceType: 'BF16',
  type: '',
  kept: false,
  bytes: 0,
  ...plan,
})
const stages = Array.from({ length: blocks }, (_, block) =>
  blockMatrices.map((part) => blockName(block, part)),
)
/** A model of three billion weights. */
const task: MemoryTask = {
  config,
  format: 'huggingface',
  target: 'pare',
  tensors: [
    tensor('model.embed_tokens.weight', [vocabulary, hidden], {
      role: 'embedding',
      bytes: 2 * vocabulary * hidden,
    }),
    ...Array.from({ length: blocks }, (_, block) =>
      blockMatrices.map((part) =>
        tensor(blockName(block, part), shapes[part], {
          grid: affineGrid(),
          bytes: (shapes[part][0] * shapes[part][1] * 4.3) / 8,
        }),
      ),
    ).flat(),
  ],
  stages,
  calibration: { samples: 64, length: 512, ordered: true },
  evaluation: { windows: 20, context: 512 },
  sideBySide: false,
  textBytes: 200_000,
}

test('without a limit, or with more than is needed, nothing is split', () => {
  const free = budgetOf(task, undefined)
  expect(free).toMatchObject({ split: freeSplit, notes: [], refusal: undefined, maxMemory: undefined })
  expect(free.phases).toEqual(memoryPhases(task))
  expect(budgetOf(task, free.peakMemoryBytes).split).toBe(freeSplit)
})
test('every phase is below the limit, and what is split is as large as it may be', () => {
  for (const maxMemory of [5e9, 4e9, 3.5e9, 3e9]) {
    const { phases, split, peakMemoryBytes, refusal } = budgetOf(task, maxMemory)
    expect(refusal).toBeUndefined()
    expect(peakMemoryBytes).toBeLessThanOrEqual(maxMemory)
    for (const { bytes, parts } of phases) {
      expect(bytes).toBeLessThanOrEqual(maxMemory)
      expect(parts.reduce((sum, part) => sum + part.bytes, 0)).toBe(bytes)
    }
    if (maxMemory > 3.5e9) continue
    // Two heads of 3.2 GB together cannot be there, and smaller blocks make room for all rows of logits.
    expect(split.evaluation.headRows).toBeLessThan(vocabulary)
    expect(split.evaluation.logitRows).toBe(256)
  }
})
test('less memory never means larger pieces', () => {
  let before = budgetOf(task, undefined).split
  for (let maxMemory = 6e9; maxMemory > 2e9; maxMemory -= 2e8) {
    const { split } = budgetOf(task, maxMemory)
    expect(split.activationBytes).toBeLessThanOrEqual(before.activationBytes)
    before = split
  }
})
test('a limit that nothing fits is refused with what is needed at least, and that suffices', () => {
  const { refusal, peakMemoryBytes } = budgetOf(task, 1e9)
  expect(refusal).toBeInstanceOf(ResourceError)
  expect(refusal).toMatchObject({ code: 'PARE_E_MEMORY', exitCode: 5 })
  expect(refusal!.message).toMatch(
    /^--max-memory: this run needs at least \d+ MB for a stage of weights that is compressed, got 1000 MB; /,
  )
  expect(peakMemoryBytes).toBeGreaterThan(1e9)
  const needed = refusal!.facts.needed as number
  expect(budgetOf(task, needed).refusal).toBeUndefined()
  expect(budgetOf(task, needed - 1).refusal).toBeDefined()
})
test('a measurement has pieces of its own, and is refused where none are small enough', () => {
  const tried = stages.map((names) =>
    names.flatMap((name) => {
      const plan = task.tensors.find((each) => each.name === name)!
      return [2, 4].map((bits) => ({
        plan: { ...plan, grid: affineGrid({ bits: bits as 2 | 4 }) },
        methods: [],
      }))
    }),
  )
  const windows = { count: 4, length: 64 }
  const measured = {
    ...task,
    calibration: undefined,
    evaluation: undefined,
    measurement: { how: 'measured' as const, windows, stages: tried },
  }
  expect(budgetOf(measured, undefined).split.measurement).toBe(freeSplit.measurement)
  // A head of 1.6 GB with three times 131 rows of logits.
  const maxMemory = 1.5e9
  const { split, phases, refusal, peakMemoryBytes } = budgetOf(measured, maxMemory)
  expect(refusal).toBeUndefined()
  expect(phases.map(({ phase }) => phase)).toEqual(['start', 'measure', 'compress', 'write'])
  expect(peakMemoryBytes).toBeLessThanOrEqual(maxMemory)
  expect(split.measurement.headRows).toBeLessThan(vocabulary)
  expect(split.evaluation).toBe(freeSplit.evaluation)
  const least = budgetOf(measured, 5e8).refusal!
  expect(least.message).toMatch(/ MB while the levels of a mix are measured, got 500 MB; .*measure without/)
  expect(least.facts.phase).toBe('measure')
  const needed = least.facts.needed as number
  expect(budgetOf(measured, needed).refusal).toBeUndefined()
  expect(budgetOf(measured, needed - 1).refusal).toBeDefined()
})
test('texts side by side are left out with a note, or refused where they were asked for', () => {
  const samples = { ...task, sideBySide: true }
  const without = budgetOf(samples, 4e9)
  expect([without.sideBySide, without.refusal]).toEqual([false, undefined])
  expect(without.notes).toEqual([
    expect.stringMatching(/^no texts side by side: .* --max-memory is 4000 MB$/),
  ])
  const asked = budgetOf(samples, 4e9, { sideBySide: true })
  expect(asked.sideBySide).toBe(true)
  expect(asked.refusal?.message).toContain('--no-side-by-side')
  expect(budgetOf(samples, 20e9)).toMatchObject({ sideBySide: true, notes: [] })
})
test('speed is left out with a note where both models do not fit, or refused where it was asked for', () => {
  const measured = { ...task, speed: true }
  const without = budgetOf(measured, 4e9)
  expect([without.speed, without.refusal]).toEqual([false, undefined])
  expect(without.notes).toEqual([
    expect.stringMatching(
      /^speed is not measured: source and result together need \d+ MB, --max-memory is 4000 MB$/,
    ),
  ])
  expect(budgetOf(measured, 4e9, { speed: true }).refusal?.message).toContain('--no-speed')
  expect(budgetOf({ ...measured, sideBySide: true }, 4e9).notes).toHaveLength(2)
  expect(budgetOf(measured, 40e9)).toMatchObject({ speed: true, notes: [] })
})
test('a limit of less than a megabyte is told as it was asked for', () => {
  expect(budgetOf(task, 1000).refusal!.message).toMatch(/, got 1kB; /)
})
test('kernels are measured with what a limit leaves, so that they are no reason to refuse a run', () => {
  const without = budgetOf(task, 1e9).refusal!.facts.needed as number
  const measured = { ...task, probe: true }
  expect(budgetOf(measured, without).refusal).toBeUndefined()
  expect(memoryPhases(measured)[0]!.bytes).toBeGreaterThan(memoryPhases(task)[0]!.bytes)
})
