import { expect, test } from 'vitest'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { freeSplit, type MemoryTask, memoryPhases } from './memory_plan.ts'
import { panelBytes } from './process_memory.ts'
import { modelTuningParts } from './tuning_memory.ts'

const matrix = (name: string, shape: [number, number]): TensorPlan => ({
  ...{ name, shape, role: 'matrix', sourceType: 'F32', type: 'codebook', kept: false },
  bytes: shape[0] * shape[1],
})
const block = (index: number) => [
  ...[matrix(`q${index}`, [4, 4]), matrix(`k${index}`, [2, 4]), matrix(`v${index}`, [2, 4])],
  ...[matrix(`o${index}`, [4, 4]), matrix(`gate${index}`, [6, 4]), matrix(`up${index}`, [6, 4])],
  matrix(`down${index}`, [4, 6]),
]
const blocks = [block(0), block(1)]
const layer = { heads: 2, kvHeads: 1, intermediate: 6 }
const task = (wholeModel: boolean): MemoryTask => ({
  config: { hidden: 4, headSize: 2, vocabulary: 1000, tied: true, layers: [layer, layer] },
  ...{ format: 'huggingface', target: 'pare', tensors: blocks.flat(), sideBySide: false, textBytes: 0 },
  stages: blocks.map((all) => all.map(({ name }) => name)),
  calibration: { samples: 3, length: 5, ordered: false, wholeModel },
})
const tuned = { ...freeSplit, pooledBytes: 7 }

test('the parts of two blocks and a sequence of five tokens, worked by hand', () => {
  const parts = Object.fromEntries(
    modelTuningParts(task(true), tuned).map(({ what, bytes }) => [what, bytes]),
  )
  // Of a token in a stage: six hidden states, three times queries and keys, four times the MLP.
  const stage = 6 * 4 + 3 * 4 + 3 * 2 + 4 * 6
  expect(parts).toEqual({
    'weights of the model, as codes and decoded': 6 * 2 * 120,
    'the largest of them while it is trained': 9 * 4 * 24,
    'states of the source': 4 * 3 * 5 * 4,
    'heads of source and result': 2 * 4 * 4 * 1000,
    'a sequence with its gradients': 2 * 4 * 5 * 2 * stage,
    'logits of a sequence': 5 * 4 * 5 * 1000 + panelBytes,
    'freed tensors that are kept for reuse': 7,
  })
})
test('they stand in the plan where a result is trained as a whole, and in no other', () => {
  const compressing = (wholeModel: boolean) =>
    memoryPhases(task(wholeModel), tuned)
      .find(({ phase }) => phase === 'compress')!
      .parts.map(({ what }) => what)
  expect(compressing(true)).toContain('heads of source and result')
  expect(compressing(false)).not.toContain('heads of source and result')
})
