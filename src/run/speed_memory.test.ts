import { expect, test } from 'vitest'
import type { PareWeight } from '../formats/pare_weight.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { affineGrid } from '../nn/grid.ts'
import { loadedBytes } from './speed_memory.ts'

const config = { hidden: 64, headSize: 16, vocabulary: 100, tied: false, layers: [] }
const matrix = (extra: Partial<TensorPlan>): TensorPlan => ({
  ...{ name: 'w', shape: [8, 64], role: 'matrix', sourceType: 'F16', type: '', kept: false, bytes: 0 },
  ...extra,
})
const bytes = (
  plan: TensorPlan,
  { format = 'gguf', target = 'gguf' }: Partial<Parameters<typeof loadedBytes>[0]> = {},
) => loadedBytes({ config, format, target, tensors: [plan] })

test('blocks of ggml take what they take in the file, and all else four bytes a weight', () => {
  expect(bytes(matrix({ sourceType: 'Q8_0', type: 'Q4_0' }))).toEqual({
    source: (8 * 64 * 8.5) / 8,
    result: (8 * 64 * 4.5) / 8,
  })
  expect(bytes(matrix({ type: 'F16' }))).toEqual({ source: 4 * 512, result: 4 * 512 })
  expect(bytes(matrix({ sourceType: 'gptq-4bit', type: 'Q4_0' }), { format: 'gptq' }).source).toBe(4 * 512)
})
test('groups of a Pare folder take whole parts of 32 columns, with eight bytes in front of each', () => {
  const grid = (bits: 3 | 4, groupSize: number | 'row') =>
    bytes(matrix({ type: 'a grid', grid: affineGrid({ bits, groupSize }) }), { target: 'pare' }).result
  expect(grid(4, 64)).toBe(8 * (8 + 32) + 4 * 64)
  expect(grid(3, 'row')).toBe(8 * (8 + 24) + 4 * 64)
  // Twice the places.
  expect(grid(4, 16)).toBe(8 * (4 * 8 + 64) + 4 * 128)
})
test('what a method stores in a form of its own is decoded', () => {
  const made: PareWeight = { kind: 'bitmask', shape: [8, 64], kept: 256, numberType: 'f16' }
  expect(bytes(matrix({ type: 'a mask', made }), { target: 'pare' }).result).toBe(4 * 512)
})
test('an embedding that is no head is read from the file', () => {
  const plan = matrix({ role: 'embedding', sourceType: 'Q8_0', type: 'Q8_0' })
  expect(bytes(plan)).toEqual({ source: 0, result: 0 })
  const tied = { ...config, tied: true }
  expect(loadedBytes({ config: tied, format: 'gguf', target: 'gguf', tensors: [plan] }).source).toBe(544)
})
