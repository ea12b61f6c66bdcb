import { describe, expect, test } from 'vitest'
import type { LlamaConfig } from '../../models/llama/config.ts'
import { plainLlama } from '../../models/llama/plain_llama.suite.ts'
import type { TensorPlan } from '../../models/write/tensor_plan.ts'
import { affineGrid } from '../../nn/grid.ts'
import { freeSplit, type MemorySplit, type MemoryTask, memoryPhases } from '../memory_plan.ts'
import {
  encodingBytes,
  panelBytes,
  processBytes,
  readBytes,
  tokenBytes,
  uncollectedBytes,
} from '../process_memory.ts'
import type { MeasurementTask } from './measurement_task.ts'

// Two blocks of one head of 4 numbers and an MLP of 8.
const configOf = (vocabulary: number): LlamaConfig =>
  plainLlama({
    hidden: 4,
    headSize: 4,
    layers: [0, 1].map(() => ({ heads: 1, kvHeads: 1, intermediate: 8 })),
    vocabulary,
  })
const matrix = (name: string, shape: [number, number]): TensorPlan => ({
  name,
  shape,
  role: 'matrix',
  sourceType: 'F32',
  type: '4 bits',
  grid: affineGrid({ bits: 4, groupSize: 4 }),
  kept: false,
  bytes: shape[0] * shape[1],
})
const matrices = ['0', '1'].map((block) => [matrix(`${block}.q`, [4, 4]), matrix(`${block}.down`, [4, 8])])
const levels = matrices.map((stage) => stage.flatMap((plan) => [plan, plan, plan]))
const measurement = (extra: Partial<MeasurementTask> = {}, methods = ['rtn']): MeasurementTask => ({
  how: 'measured',
  windows: { count: 3, length: 10 },
  stages: levels.map((stage) => stage.map((plan) => ({ plan, methods }))),
  ...extra,
})
const noPool: MemorySplit = { ...freeSplit, pooledBytes: 0 }
const measuredIn = (task: MeasurementTask | undefined, vocabulary = 10, split = noPool) => {
  const whole: MemoryTask = {
    config: configOf(vocabulary),
    format: 'huggingface',
    target: 'pare',
    tensors: matrices.flat(),
    stages: matrices.map((stage) => stage.map(({ name }) => name)),
    calibration: undefined,
    evaluation: undefined,
    measurement: task,
    sideBySide: false,
    textBytes: 0,
  }
  return memoryPhases(whole, split).find(({ phase }) => phase === 'measure')
}
const partsOf = (...args: Parameters<typeof measuredIn>) =>
  Object.fromEntries(measuredIn(...args)!.parts.map(({ what, bytes }) => [what, bytes]))

/** Windows before and after the source: 30 tokens of 4 numbers, each; six variants of a stage. */
const states = 2 * 30 * 4 * 4 + 6 * 30 * 4 * 4

test('there is no such phase where nothing is measured', () => {
  expect(measuredIn(undefined)).toBeUndefined()
})
test('measuring reads texts, also where nothing else does', () => {
  expect(partsOf(measurement())).toMatchObject({
    process: processBytes,
    tokenizer: 10 * tokenBytes,
    'encoding of texts': encodingBytes,
    'arrays that wait for the garbage collector': uncollectedBytes + readBytes,
  })
})

describe('a large vocabulary', () => {
  const vocabulary = 1e6
  test('makes the head the highest moment: its matrix, three rows of logits a token, and their differences', () => {
    // 32 rows of 30 tokens at most; states that the walk keeps between two stages.
    expect(partsOf(measurement(), vocabulary)).toMatchObject({
      'the head': 4 * 4 * vocabulary,
      logits: 3 * 30 * 4 * vocabulary,
      differences: 3 * 30 * 4 * vocabulary,
      panels: panelBytes,
      'hidden states': states + 30 * 4 * 4,
    })
  })
  test('takes less with fewer rows, and a block of the head with the parts that logits are joined from', () => {
    const split = { ...noPool, measurement: { ...freeSplit.measurement, logitRows: 8, headRows: 1000 } }
    expect(partsOf(measurement(), vocabulary, split)).toMatchObject({
      'a block of a head': 4 * 4 * 1000,
      logits: 4 * 8 * 4 * vocabulary,
      differences: 3 * 8 * 4 * vocabulary,
    })
  })
  test('is nothing to a comparison of errors', () => {
    const samples = { count: 2, length: 6 }
    expect(partsOf(measurement({ how: 'error', samples }), vocabulary)).toEqual(
      expect.not.objectContaining({ logits: expect.anything() }),
    )
  })
})

describe('a small vocabulary', () => {
  test('makes the passage of stacked variants the highest moment', () => {
    // 180 tokens: six tensors as wide as the model, three q, three k, four as the MLP, and the copies.
    expect(partsOf(measurement())).toMatchObject({
      'weights of a stage': 4 * (16 + 32),
      'variants inside of a stage': 4 * 180 * (6 * 4 + 3 * 4 + 3 * 4 + 4 * 8 + 4) + panelBytes,
    })
    // One variant at a time, whose 30 tokens also run with a level of a weight beside them.
    const alone = { ...noPool, measurement: { ...freeSplit.measurement, batchTokens: 30 } }
    expect(partsOf(measurement(), 10, alone)['a level of a weight and the windows that run through it']).toBe(
      4 * 32 + 4 * 30 * 80 + panelBytes,
    )
  })
  test('and many samples make it the walk, with a Gram matrix and the batch that it sums', () => {
    const samples = { count: 100, length: 16 }
    expect(partsOf(measurement({ samples }, ['gptq']))).toMatchObject({
      // 8 x 8 in f64; hidden, gate, up, silu, their product and two packed copies.
      'Gram matrix and the batch that it sums': 8 * 64 + 4 * 1600 * (4 + 6 * 8) + panelBytes,
      // Between two segments there is one tensor as wide as the MLP beside the residual.
      'hidden states': states + 1600 * 4 * (4 + 8),
    })
    // A comparison of errors has no windows.
    expect(partsOf(measurement({ how: 'error', samples }))['hidden states']).toBe(1600 * 4 * (4 + 8))
  })
  test('and sets that may hold little in memory keep as much, and read the rest a batch at a time', () => {
    const split = { ...noPool, measurement: { ...freeSplit.measurement, stateBytes: 100 } }
    expect(partsOf(measurement(), 10, split)).toMatchObject({ 'hidden states': 4 * 100 })
    const parts = measuredIn(measurement(), 10, split)!.parts.filter(({ what }) => /files/.test(what))
    // As tensors, the variants that are stacked; as arrays, a batch of each of three sets.
    expect(parts.map(({ bytes, outside }) => [bytes, outside])).toEqual([
      [4 * 180 * 4, undefined],
      [3 * 4 * 30 * 4, true],
    ])
  })
})
test('only stages that are measured count', () => {
  const [, second] = measurement().stages
  const last = measurement({ stages: [[], second!] })
  // Nothing lies behind the last stage.
  expect(partsOf(last)).not.toHaveProperty('variants inside of a stage')
  expect(measuredIn(last)!.bytes).toBeLessThan(measuredIn(measurement())!.bytes)
})
