import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { affineGrid } from '../nn/grid.ts'
import { freeSplit, type MemorySplit, type MemoryTask, memoryPhases } from './memory_plan.ts'
import { plan } from './plan.ts'
import { panelBytes, readBytes } from './process_memory.ts'

const grid = affineGrid({ bits: 4, groupSize: 4 })
const matrix = (name: string, shape: [number, number]): TensorPlan => ({
  ...{ name, shape, role: 'matrix', sourceType: 'F32', type: '4 bits', grid, kept: false },
  bytes: shape[0] * shape[1],
})
const matrices = [
  ...[matrix('q', [4, 4]), matrix('k', [2, 4]), matrix('v', [2, 4]), matrix('o', [4, 4])],
  ...[matrix('gate', [6, 4]), matrix('up', [6, 4]), matrix('down', [4, 6])],
]
const task = (extra: Partial<MemoryTask>): MemoryTask => ({
  config: {
    ...{ hidden: 4, headSize: 2, vocabulary: 10, tied: true },
    layers: [{ heads: 2, kvHeads: 1, intermediate: 6 }],
  },
  ...{ format: 'huggingface', target: 'pare', tensors: matrices, sideBySide: false, textBytes: 0 },
  stages: [matrices.map(({ name }) => name)],
  calibration: { samples: 3, length: 2, ordered: true },
  ...extra,
})
const noPool: MemorySplit = { ...freeSplit, pooledBytes: 0 }
const compressing = (extra: Partial<MemoryTask>, split = noPool) => {
  const { parts } = memoryPhases(task(extra), split).find(({ phase }) => phase === 'compress')!
  return Object.fromEntries(parts.map(({ what, bytes }) => [what, bytes]))
}
const part = 'the search of scales and cuts'

describe('the search of AWQ, of the gate and up with 4 of 6 tokens', () => {
  // x, gate, up, silu, the product and two copies of it, of six tokens.
  const forward = 6 * 4 * (4 + 6 * 6)
  // Inputs and outputs of the MLP, both weights as they are tried, and four of the size of one on the way.
  const scaling = 4 * 4 * (4 + 4) + 4 * 4 * (12 + 4 * 6)
  test('is more than the walk, and stands in its place', () => {
    const parts = compressing({ search: { tokens: 4, clipTokens: 2 } })
    expect(parts).toMatchObject({
      'weights of a stage': 4 * 120,
      // What passes through stages, and what is picked: each group once, and before attention whole samples.
      activations: 6 * 4 * (4 + 6) + 4 * 4 * (4 + 4 + 4 + 4 + 6),
      [part]: scaling + forward + panelBytes,
    })
    expect(parts).not.toHaveProperty('Gram matrix and the batch that it sums')
  })
  test('reads what it picked from a file, a second time in memory, where that is past its half', () => {
    const parts = compressing(
      { search: { tokens: 4, clipTokens: 2 } },
      { ...noPool, activationBytes: 4 * 4 * 22 },
    )
    expect(parts.activations).toBe(4 * 4 * 22)
    expect(parts[part]).toBe(scaling + 4 * 4 * 4 + forward + panelBytes)
  })
  test('has no more tokens than there are', () => {
    const all = compressing({ search: { tokens: 6, clipTokens: 6 } })
    expect(compressing({ search: { tokens: 1e9, clipTokens: 1e9 } })).toEqual(all)
  })
  test('is left out where the walk takes more', () => {
    const wide = [matrix('q', [4, 400])]
    const parts = compressing({
      ...{ tensors: wide, stages: [['q']], search: { tokens: 4, clipTokens: 2 } },
    })
    expect(parts).not.toHaveProperty(part)
    expect(parts).toHaveProperty('Gram matrix, its factor and the weight that it rounds')
  })
})

test('arrays that pass while a matrix is turned wait for the garbage collector too', () => {
  const turned = ({ grid: _, ...plan }: TensorPlan): TensorPlan => ({
    ...plan,
    made: { kind: 'rotated_grid', shape: plan.shape as [number, number], bits: 2 },
  })
  const stored = 120 + 4 * 120
  // The factor and the diagonal, of 4 or 6 inputs, and three arrays of the size of the weight.
  const decided = 8 * (2 * (6 * 16 + 36) + 3 * 120)
  expect(compressing({ tensors: matrices.map(turned) })).toMatchObject({
    'arrays that wait for the garbage collector': stored + decided + readBytes,
  })
})

test('a plan with many tokens to search with needs more memory, and cuts that are off need less', async () => {
  const source = fileURLToPath(new URL('../../interop/fixtures/llama-f16.gguf', import.meta.url))
  const peak = async (own: object) =>
    (
      await plan({
        source,
        steps: [{ method: 'awq', ...own }, { method: 'rtn' }],
        ...{ evaluate: false, verify: false, probe: false },
      })
    ).peakMemoryBytes
  const [usual, many, uncut] = [
    await peak({}),
    await peak({ searchTokens: 20_480, clipTokens: 20_480 }),
    await peak({ searchTokens: 20_480, clip: false }),
  ]
  expect(many).toBeGreaterThan(usual)
  expect(uncut).toBeLessThan(many)
})
