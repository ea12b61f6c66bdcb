import { describe, expect, test } from 'vitest'
import type { LlamaConfig } from '../models/llama/config.ts'
import { plainLlama } from '../models/llama/plain_llama.suite.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { affineGrid } from '../nn/grid.ts'
import {
  freeSplit,
  type MemoryPhase,
  type MemorySplit,
  type MemoryTask,
  memoryPhases,
  outsideOf,
  peakOf,
} from './memory_plan.ts'
import {
  encodingBytes,
  metadataBytes,
  panelBytes,
  processBytes,
  readBytes,
  tokenBytes,
  uncollectedBytes,
} from './process_memory.ts'

// Two query heads of 2 numbers, one key head, an MLP of 6, ten tokens.
const config: LlamaConfig = plainLlama({
  hidden: 4,
  headSize: 2,
  layers: [{ heads: 2, kvHeads: 1, intermediate: 6 }],
  vocabulary: 10,
})
const grid = affineGrid({ bits: 4, groupSize: 4 })
const matrix = (name: string, shape: [number, number]): TensorPlan => ({
  name,
  shape,
  role: 'matrix',
  sourceType: 'F32',
  type: '4 bits',
  grid,
  kept: false,
  bytes: shape[0] * shape[1],
})
const matrices = [
  matrix('q', [4, 4]),
  matrix('k', [2, 4]),
  matrix('v', [2, 4]),
  matrix('o', [4, 4]),
  matrix('gate', [6, 4]),
  matrix('up', [6, 4]),
  matrix('down', [4, 6]),
]
const embedding: TensorPlan = {
  name: 'embedding',
  shape: [10, 4],
  role: 'embedding',
  sourceType: 'F32',
  type: 'F16',
  kept: false,
  bytes: 80,
}
const task = (extra: Partial<MemoryTask> = {}): MemoryTask => ({
  config,
  format: 'huggingface',
  target: 'pare',
  tensors: [embedding, ...matrices],
  stages: [matrices.map(({ name }) => name)],
  calibration: { samples: 3, length: 2, ordered: true },
  evaluation: undefined,
  sideBySide: false,
  textBytes: 0,
  ...extra,
})
const noPool: MemorySplit = { ...freeSplit, pooledBytes: 0 }

const partsOf = (phases: readonly MemoryPhase[], name: MemoryPhase['phase']) =>
  Object.fromEntries(
    phases.find(({ phase }) => phase === name)!.parts.map(({ what, bytes }) => [what, bytes]),
  )

describe('the process', () => {
  const base = (extra: Partial<MemoryTask>) => partsOf(memoryPhases(task(extra)), 'start')

  test('reads a tokenizer where texts are encoded, and metadata where a GGUF file is', () => {
    const texts = { tokenizer: 10 * tokenBytes, 'encoding of texts': encodingBytes }
    const metadata = { 'metadata of a GGUF file': 10 * metadataBytes }
    const silent = { calibration: undefined }
    expect(base({})).toEqual({ process: processBytes, ...texts })
    expect(base(silent)).toEqual({ process: processBytes })
    expect(base({ ...silent, target: 'gguf' })).toEqual({ process: processBytes, ...metadata })
    expect(base({ ...silent, format: 'gguf', target: 'gguf' })).toEqual({
      process: processBytes,
      ...metadata,
    })
    // A folder gets the tokenizer as JSON.
    expect(base({ ...silent, format: 'gguf' })).toEqual({
      process: processBytes,
      ...metadata,
      tokenizer: 10 * tokenBytes,
    })
  })
  test('measures kernels before the run: products of at most 2^22 weights, or a Gram matrix and its factor', () => {
    const measured = (extra: Partial<MemoryTask>) =>
      base({ ...extra, probe: true })['kernels that are measured']
    expect(measured({})).toBe(Math.max(4 * 8 * 6 ** 2, 3 * 4 * 4 * 10) + panelBytes)
    expect(measured({ config: { ...config, hidden: 4096 } })).toBe(3 * 4 * 2 ** 22 + panelBytes)
    expect(base({})['kernels that are measured']).toBeUndefined()
  })
  test('holds the tokens of its texts: at most one for two bytes, in parts and joined', () => {
    expect(base({ textBytes: 1000 }).texts).toBe(4000)
  })
})

describe('the verification', () => {
  const verified = (extra: Partial<MemoryTask>) =>
    partsOf(memoryPhases(task({ calibration: undefined, verification: true, ...extra }), noPool), 'verify')

  test('reads the tokenizers of source and result, and encodes a text', () => {
    expect(verified({})).toMatchObject({
      tokenizer: 10 * tokenBytes,
      'tokenizer of the result': 10 * tokenBytes,
      'encoding of texts': encodingBytes,
    })
  })
  test('of encoders: 512 tokens inside of a stage, and no logits', () => {
    const stage = 4 * 120 + 4 * 512 * (6 * 4 + 3 * 4 + 3 * 2 + 4 * 6)
    const parts = verified({ vectors: true })
    expect(parts['a weight of source and result, a stage, or a block of the head']).toBe(stage)
    expect(parts['logits of source and result']).toBeUndefined()
    expect(verified({})['logits of source and result']).toBe(2 * 4 * 64 * 10)
  })
})

describe('a walk', () => {
  const walk = (extra: Partial<MemoryTask> = {}, split = noPool) =>
    partsOf(memoryPhases(task(extra), split), 'compress')

  test('ordered: a stage of weights, the widest activations, and the Gram matrix with the batch that it sums', () => {
    expect(walk()).toMatchObject({
      // 16 + 8 + 8 + 16 + 24 + 24 + 24 numbers.
      'weights of a stage': 4 * 120,
      // Six tokens with the residual and the input of down.
      activations: 6 * 4 * (4 + 6),
      // 6 x 6 in f64; x, gate, up, silu, the product and two packed copies of it for six tokens.
      'Gram matrix and the batch that it sums': 8 * 36 + 6 * 4 * (4 + 6 * 6) + panelBytes,
      'encoded weights of a stage': 120,
      // All of the stages, as they are read and written.
      'arrays that wait for the garbage collector': 120 + 4 * 120 + readBytes,
    })
  })
  test('all groups of a stage at once: four Gram matrices, and the whole stage inside of a batch', () => {
    expect(walk({ calibration: { samples: 3, length: 2, ordered: false } })).toMatchObject({
      activations: 6 * 4 * 4,
      // Six tensors as wide as the model, three as q, three as k, four as the MLP, and two packed copies.
      'Gram matrix and the batch that it sums': 8 * 36 + 6 * 4 * (6 * 4 + 3 * 4 + 3 * 2 + 6 * 6) + panelBytes,
      'Gram matrices of other inputs': 8 * (16 + 16 + 16),
    })
  })
  test('that trains its stages: their targets and inputs, all Gram matrices, and a step forth and back', () => {
    for (const training of ['dense', 'denseOnCurrent'] as const)
      expect(walk({ calibration: { samples: 3, length: 2, ordered: false, training } })).toMatchObject({
        'weights of a stage': 4 * 120,
        // Six tokens with the inputs of the stage and what it should put out.
        activations: 6 * 4 * (4 + 8),
        'Gram matrices': 8 * (16 + 16 + 16 + 36),
        // Codes of up to two bytes, decoded weights, the gradient of the largest, and each number of the stage with its gradient.
        'the stage while it is trained':
          6 * 120 + 9 * 4 * 24 + 2 * 6 * 4 * (6 * 4 + 3 * 4 + 3 * 2 + 4 * 6) + panelBytes,
      })
  })
  test('few tokens: factoring takes the Gram matrix and two of its size', () => {
    const wide = [matrix('q', [4, 400])]
    const parts = walk({
      tensors: [embedding, ...wide],
      stages: [['q']],
      calibration: { samples: 1, length: 1, ordered: true },
    })
    expect(parts['Gram matrix, its factor and the weight that it rounds']).toBe(3 * 8 * 400 ** 2 + panelBytes)
  })
  test('what activations may not take in memory is read and written a batch at a time', () => {
    const split = { ...noPool, activationBytes: 100 }
    expect(walk({}, split)).toMatchObject({
      activations: 100,
      'Gram matrix and the batch that it sums':
        8 * 36 + 6 * 4 * (4 + 6 * 6) + 2 * (6 * 4 * (4 + 6)) + panelBytes,
    })
  })
  test('batches have up to 2048 tokens of whole samples', () => {
    const batch = (samples: number, length: number) =>
      walk({ calibration: { samples, length, ordered: true } })['Gram matrix and the batch that it sums']!
    const tokens = (bytes: number) => (bytes - 8 * 36 - panelBytes) / (4 * 40)
    expect(tokens(batch(8, 256))).toBe(2048)
    expect(tokens(batch(80, 256))).toBe(2048)
    expect(tokens(batch(80, 1500))).toBe(1500)
    expect(tokens(batch(80, 3000))).toBe(3000)
  })
})

test('rounding holds one weight at a time: itself, what it becomes in values and codes, and two tensors of the error', () => {
  const parts = partsOf(memoryPhases(task({ calibration: undefined }), noPool), 'compress')
  expect(parts['a weight with what it is rounded to']).toBe(24 * (4 * 4 + 1))
})

test('writing holds a block of the embedding with half floats, or with what it is rounded to and its codes', () => {
  expect(partsOf(memoryPhases(task(), noPool), 'write')).toMatchObject({
    'a block of rows with what it is rounded to': 1.5 * 4 * 40,
    'arrays that wait for the garbage collector': Math.ceil((120 + 80) / 3) + 80,
  })
  const coded = { ...embedding, grid: { kind: 'blocks', type: 'Q8_0' } as const }
  expect(partsOf(memoryPhases(task({ tensors: [coded, ...matrices] }), noPool), 'write')).toMatchObject({
    'a block of rows with what it is rounded to': 3 * 4 * 40,
  })
  const kept = { ...embedding, kept: true }
  const parts = partsOf(memoryPhases(task({ tensors: [kept, ...matrices] }), noPool), 'write')
  expect(parts).not.toHaveProperty('a block of rows with what it is rounded to')
})

describe('an evaluation', () => {
  const evaluated = (split: Partial<MemorySplit['evaluation']> = {}, vocabulary = 10_000_000) =>
    partsOf(
      memoryPhases(task({ config: { ...config, vocabulary }, evaluation: { windows: 5, context: 101 } }), {
        ...noPool,
        evaluation: { ...freeSplit.evaluation, ...split },
      }),
      'evaluate',
    )

  test('holds two heads, the logits of a window, and five tensors of 32 rows where the vocabulary is large', () => {
    expect(evaluated()).toMatchObject({
      'the heads of source and result': 2 * 4 * 4e7,
      logits: 2 * 100 * 4e7,
      scores: 5 * 32 * 4e7,
      panels: panelBytes,
      'hidden states of source and result': 2 * 4 * 5 * 101 * 4,
      'arrays that wait for the garbage collector': uncollectedBytes + readBytes,
    })
  })
  test('in pieces it holds a block of a head, and the logits of few rows with the parts that they are joined from', () => {
    expect(evaluated({ headRows: 1e6, logitRows: 8, stateBytes: 1000 })).toMatchObject({
      'a block of a head': 4 * 4 * 1e6,
      logits: 3 * 8 * 4e7,
      scores: 5 * 8 * 4e7,
      // What is on the disk is read as an array and as a tensor.
      panels: panelBytes + 2 * 4 * 5 * 101 * 4,
      'hidden states of source and result': 2 * 1000,
    })
  })
  test('holds a stage where the vocabulary is small', () => {
    expect(evaluated({ batchTokens: 202 }, 10)).toMatchObject({
      'weights of a stage': 480,
      'a batch inside of a stage': 4 * 202 * (6 * 4 + 3 * 4 + 3 * 2 + 4 * 6) + panelBytes,
    })
  })
})

test('texts side by side need the whole model, with the embedding only where it is the head as well', () => {
  const sample = (tied: boolean) =>
    partsOf(
      memoryPhases(
        task({ config: { ...config, tied }, evaluation: { windows: 1, context: 8 }, sideBySide: true }),
      ),
      'sample',
    )
  expect(sample(true)['the whole model']).toBe(4 * (120 + 40))
  expect(sample(false)['the whole model']).toBe(4 * 120)
})

test('phases are those of the run, and the highest decides', () => {
  const names = (extra: Partial<MemoryTask>) => memoryPhases(task(extra)).map(({ phase }) => phase)
  const evaluation = { windows: 1, context: 8 }
  expect(names({ sideBySide: true })).toEqual(['start', 'compress', 'write'])
  expect(names({ evaluation })).toEqual(['start', 'compress', 'write', 'evaluate'])
  expect(names({ evaluation, sideBySide: true })).toEqual([
    'start',
    'compress',
    'write',
    'evaluate',
    'sample',
  ])
  expect(names({ speed: true })).toEqual(['start', 'compress', 'write'])
  expect(names({ evaluation, speed: true })).toEqual(['start', 'compress', 'write', 'evaluate', 'speed'])
  const phases = memoryPhases(task({ evaluation }))
  expect(peakOf(phases).bytes).toBe(Math.max(...phases.map(({ bytes }) => bytes)))
  for (const { bytes, parts } of phases) expect(parts.reduce((sum, part) => sum + part.bytes, 0)).toBe(bytes)
})
test('the engine has what the process does not take', () => {
  const [start] = memoryPhases(task({ textBytes: 5 }))
  expect(outsideOf(start!)).toBe(start!.bytes)
  const write = memoryPhases(task(), noPool)[2]!
  // Blocks are rounded up by a sixteenth.
  expect(write.bytes - outsideOf(write)).toBe(1.5 * 4 * 40 * (1 + 1 / 16))
})
