import { describe, expect, test } from 'vitest'
import { type FixtureName, openFixture } from '../../models/llama/fixtures.suite.ts'
import type { OpenModel } from '../../models/open_model.ts'
import { areLossless, codeBits, farthest, logitBound } from './bounds.ts'

test.each([
  ['Q4_K', 4],
  ['IQ4_NL', 4],
  ['Q8_0', 8],
  ['gptq-3bit', 3],
  ['awq-4bit', 4],
  ['mlx-6bit', 6],
  ['compressed-tensors-8bit', 8],
  ['compressed-tensors-F8_E4M3', 5],
  ['F8_E5M2', 4],
  ['2 bits, groups of 64, symmetric', 2],
  ['16 bits', 16],
  ['F16', undefined],
  ['aqlm-2x8', undefined],
  ['bitmask', undefined],
  ['codebook', undefined],
  ['99 bits', undefined],
])('%s has codes of %s bits', (type, bits) => {
  expect(codeBits(type)).toBe(bits)
})

const q = 'model.layers.0.self_attn.q_proj.weight'
const boundsOf = (name: FixtureName, source: FixtureName = name) => {
  const [own, other] = [openFixture(name), openFixture(source)]
  try {
    return {
      logits: logitBound(own, areLossless(own, other)),
      weight: farthest(own, q, other.weights.infos.get(q)!),
    }
  } finally {
    own.close()
    other.close()
  }
}

describe('bounds', () => {
  test('of floats that hold every value of the source allow nothing but another order of sums', () => {
    const { logits, weight } = boundsOf('llama-f32.gguf', 'llama-f16.gguf')
    expect(logits).toMatchObject({ kind: 'largest', most: 1e-3 })
    expect(weight).toMatchObject({ error: 0 })
  })
  test('of floats that round are those of the rounding', () => {
    const { logits, weight } = boundsOf('llama-f16.gguf', 'llama-f32.gguf')
    expect(logits).toMatchObject({ kind: 'largest', most: 8 * 2 ** -11 })
    expect(weight).toMatchObject({ error: 2 ** -11 })
  })
  test('double with each bit less, and end where honest results are as far as damaged ones', () => {
    expect(boundsOf('mlx-8').logits).toMatchObject({ kind: 'relative', most: 15 / 256 })
    expect(boundsOf('mlx-6').logits).toMatchObject({ kind: 'relative', most: 15 / 64 })
    const three = boundsOf('llama-gptq-3')
    expect(three.weight).toMatchObject({ error: 1 })
    expect(three.logits).toMatchObject({ kind: 'none', reason: 'no bound holds at so few bits (3)' })
    expect(boundsOf('mlx-2')).toMatchObject({ weight: undefined, logits: { kind: 'none' } })
  })
  test('hold for a bit less where a group is as long as a row', () => {
    const stored = (bits: number, columns: number, groupSize: number, type: string) => {
      // A half float and a zero for each group; GPTQ has 32 bits for each column too.
      const each = bits + (16 + bits) / groupSize + (type.startsWith('gptq') ? 32 / 256 : 0)
      const info = { name: q, shape: [256, columns], type, bytes: (each * 256 * columns) / 8 }
      const own = { weights: { infos: new Map([[q, info]]) } } as unknown as OpenModel
      return farthest(own, q, { ...info, type: 'BF16' })!.error
    }
    for (const type of ['gptq-4bit', 'awq-4bit']) {
      expect(stored(4, 1024, 128, type)).toBe(8 / 16)
      expect(stored(4, 1024, 1024, type)).toBe(8 / 8)
    }
    expect(stored(8, 256, 256, 'gptq-8bit')).toBe(8 / 128)
    expect(stored(8, 256, 64, 'gptq-8bit')).toBe(8 / 256)
  })
  test('are none for masks and codebooks', () => {
    for (const name of ['ct-sparse-bitmask', 'aqlm-2x8'] as const)
      expect(boundsOf(name)).toMatchObject({ weight: undefined, logits: { kind: 'none' } })
  })
})
