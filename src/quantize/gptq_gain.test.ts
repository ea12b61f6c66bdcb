import { describe, expect, test } from 'vitest'
import type { Grid } from '../nn/grid.ts'
import { outputError, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { matmul } from '../tensor/index.ts'
import type { GptqOptions } from './gptq.ts'
import { nearest, rowGrid, run } from './gptq_layer.suite.ts'

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length
const seeds = [1, 2, 3, 4, 5, 6]

/** Mean over random layers of the output error, over that of rounding to nearest. */
function ratio(
  grid: Grid,
  options: GptqOptions,
  { held, ...size }: { held?: number; rows?: number; tokens?: number } = {},
): number {
  return mean(
    seeds.map((seed) => {
      const whole = syntheticLayer({ seed, ...size, tokens: (size.tokens ?? 2000) + (held ?? 0) })
      const inputs = whole.inputs.slice(0, 0, size.tokens ?? 2000)
      const seen = { weight: whole.weight, inputs, gram: matmul(inputs.transpose(), inputs) }
      const scored = held ? whole.inputs.slice(0, size.tokens!, size.tokens! + held) : inputs
      const gram = matmul(scored.transpose(), scored)
      const error = (edit: ReturnType<typeof run>) => outputError(whole.weight, edit.decoded!, gram)
      return error(run(seen, grid, options)) / error(nearest(seen, grid))
    }),
  )
}

describe('what it gains on correlated inputs, against round to nearest', () => {
  test.each([4, 3, 2] as const)(
    'at %i bits the output error is at most 0.75, and lower still with act-order',
    (bits) => {
      const plain = ratio(rowGrid(bits), {})
      expect(plain).toBeLessThanOrEqual(0.75)
      expect(ratio(rowGrid(bits), { actOrder: true })).toBeLessThan(plain)
    },
  )
  test('damping from 1e-4 to 1e-1 moves the ratio by less than 0.05, and 1 costs more than that', () => {
    const usual = ratio(rowGrid(4), {})
    for (const damping of [1e-4, 1e-3, 1e-1])
      expect(Math.abs(ratio(rowGrid(4), { damping }) - usual)).toBeLessThan(0.05)
    const strong = ratio(rowGrid(4), { damping: 1 })
    expect(strong).toBeGreaterThan(usual + 0.05)
    expect(strong).toBeLessThan(0.8)
  })
  test('on inputs that were not seen it is worse with half as many tokens as inputs, and better with twice as many', () => {
    const curve = [32, 128, 512].map((tokens) => ratio(rowGrid(4), {}, { rows: 32, tokens, held: 1000 }))
    expect(curve[0]).toBeGreaterThan(1)
    expect(curve[1]).toBeLessThan(1)
    expect(curve[2]).toBeLessThan(0.75)
  })
  test.each(['Q3_K', 'Q4_K', 'Q4_0', 'IQ4_NL'] as const)('blocks of %s gain too', (type) => {
    const wide = syntheticLayer({ seed: 5, rows: 16, columns: 256, tokens: 2000 })
    const layer = { weight: wide.weight.cast('f32'), gram: wide.gram, inputs: wide.inputs }
    const error = (edit: ReturnType<typeof run>) => outputError(wide.weight, edit.decoded!, wide.gram)
    expect(
      error(run(layer, { kind: 'blocks', type })) / error(nearest(layer, { kind: 'blocks', type })),
    ).toBeLessThan(0.85)
  })
})
