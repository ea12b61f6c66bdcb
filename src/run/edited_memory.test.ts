import { expect, test } from 'vitest'
import type { LlamaConfig } from '../models/llama/config.ts'
import { plainLlama } from '../models/llama/plain_llama.suite.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { affineGrid } from '../nn/grid.ts'
import { editedParts } from './edited_memory.ts'
import type { MemoryTask } from './memory_plan.ts'

const config = (hidden: number): LlamaConfig =>
  plainLlama({
    hidden,
    headSize: 2,
    layers: [{ heads: 2, kvHeads: 1, intermediate: 6 }],
    vocabulary: 10,
  })
const plan = (role: TensorPlan['role'], ...shape: number[]): TensorPlan => ({
  ...{ name: role, shape, role, sourceType: 'F32', type: '4 bits', kept: false, bytes: 1 },
  grid: affineGrid({ bits: 4, groupSize: 4 }),
})
const bytesOf = (tensors: TensorPlan[], hidden = 4) =>
  editedParts({
    ...{
      config: config(hidden),
      format: 'huggingface',
      target: 'folder',
      tensors,
      stages: [],
      sideBySide: false,
    },
    edited: true,
  } as unknown as MemoryTask)

test('a model without edits takes nothing', () => {
  expect(editedParts({ tensors: [plan('matrix', 4, 4)] } as unknown as MemoryTask)).toEqual([])
})
test('the largest weight counts, with 8 bytes a number for its edits and 4 before and after them', () => {
  const small = [plan('matrix', 4, 4), plan('matrix', 6, 4), plan('embedding', 10, 4), plan('vector', 4)]
  // 40 numbers of the embedding, 16 bytes each, beside the tensors of the process.
  expect(bytesOf(small)).toEqual([{ what: 'a weight whose edits are computed', bytes: 640, outside: true }])
})
test('a matrix is held whole, however large it is', () => {
  expect(bytesOf([plan('matrix', 3000, 3000)])[0]!.bytes).toBe(144_000_000)
})
test('a table counts for no more than a block of it: 16 MiB of f32, which are 2^22 numbers', () => {
  expect(bytesOf([plan('embedding', 2 ** 22 / 4, 4)])[0]!.bytes).toBe(2 ** 26)
  expect(bytesOf([plan('embedding', 2_000_000, 4)])[0]!.bytes).toBe(2 ** 26)
  // A matrix beside it that is larger than its block counts.
  expect(bytesOf([plan('embedding', 2_000_000, 4), plan('matrix', 3000, 3000)])[0]!.bytes).toBe(144_000_000)
})
test('a block has at least the 8192 rows that logits are computed from at once', () => {
  // 8192 rows of 1024 are 2^23 numbers, twice those of 16 MiB.
  expect(bytesOf([plan('embedding', 100_000, 1024)], 1024)[0]!.bytes).toBe(2 ** 27)
})
