import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { IndexedLayer } from '../calibrate/level_index.ts'
import { OptionError } from '../tensor/errors.ts'
import { costOfLevel, storedBits } from './level_costs.ts'
import { type Profile, stitch } from './stitch.ts'

const numbers = { kind: 'numbers', numberType: 'f32' } as const
const codes = (bits: number) =>
  ({ kind: 'codes', bits, groupSize: 'row', symmetric: false, scaleType: 'f16' }) as const

/** A layer [8, 8], whose levels keep some weights and have some error. */
const layerOf = (name: string, levels: readonly [kept: number, error: number][], uses = 1): IndexedLayer => ({
  ...{ name, shape: [8, 8], uses, file: 'layer-00001.safetensors' },
  levels: levels.map(([kept, error], i) => ({
    level: `level ${i}`,
    error,
    kept,
    masked: true,
    form: numbers,
  })),
})

/** The least error of all choices within a budget. */
function exhaustive(
  layers: readonly IndexedLayer[],
  cost: (layer: IndexedLayer, i: number) => number,
  budget: number,
): number {
  let best = Number.POSITIVE_INFINITY
  const visit = (at: number, spent: number, error: number): void => {
    if (spent > budget) return
    if (at === layers.length) {
      best = Math.min(best, error)
      return
    }
    for (const [i, level] of layers[at]!.levels.entries())
      visit(at + 1, spent + cost(layers[at]!, i), error + level.error)
  }
  visit(0, 0, 0)
  return best
}

describe('the checks of the paper', () => {
  const twoLevels = fc.array(
    fc.tuple(
      fc.integer({ min: 0, max: 64 }),
      fc.integer({ min: 0, max: 64 }),
      fc.double({ min: 0, max: 10, noNaN: true }),
      fc.double({ min: 0, max: 10, noNaN: true }),
    ),
    { minLength: 1, maxLength: 10 },
  )
  const layersOf = (drawn: readonly [number, number, number, number][]) =>
    drawn.map(([a, b, x, y], i) =>
      layerOf(
        `layer ${i}`,
        [
          [a, x],
          [b, y],
        ],
        i + 1,
      ),
    )

  test('two levels and up to 10 layers: stitching finds what an exhaustive search finds, within the budget', () => {
    fc.assert(
      fc.property(twoLevels, fc.double({ min: 1, max: 4, noNaN: true }), (drawn, target) => {
        const layers = layersOf(drawn)
        const costs = { kind: 'flops' } as const
        const cost = (layer: IndexedLayer, i: number) => costOfLevel(costs, layer, layer.levels[i]!)
        const dearest = layers.reduce((sum, layer) => sum + Math.max(cost(layer, 0), cost(layer, 1)), 0)
        const cheapest = layers.reduce((sum, layer) => sum + Math.min(cost(layer, 0), cost(layer, 1)), 0)
        fc.pre(cheapest <= Math.floor(dearest / target))
        const found = stitch({ layers, costs, target })
        expect(found.cost).toBeLessThanOrEqual(dearest / target)
        expect(found.base).toEqual({ cost: dearest, kind: 'dearest levels' })
        const best = exhaustive(layers, cost, dearest / target)
        expect(found.error).toBeLessThanOrEqual(best + 1e-9)
        expect(found.error).toBeGreaterThanOrEqual(best - 1e-9)
      }),
    )
  })
  test('timings that are no whole nanoseconds miss the best by one nanosecond a layer at most, and never the budget', () => {
    fc.assert(
      fc.property(twoLevels, fc.double({ min: 1, max: 3, noNaN: true }), (drawn, target) => {
        const layers = layersOf(drawn)
        const seconds = Object.fromEntries(
          layers.map(({ name }, i) => [
            name,
            { 'level 0': drawn[i]![0] * 1.37e-8, 'level 1': drawn[i]![1] * 1.37e-8 },
          ]),
        )
        const cost = (layer: IndexedLayer, i: number) => seconds[layer.name]![`level ${i}` as 'level 0']
        const dearest = layers.reduce((sum, layer) => sum + Math.max(cost(layer, 0), cost(layer, 1)), 0)
        const budget = (dearest / target) * 1e9
        const costs = { kind: 'timings', seconds } as const
        const least = layers.reduce(
          (sum, layer) => sum + Math.min(...[0, 1].map((i) => Math.ceil(cost(layer, i) * 1e9))),
          0,
        )
        fc.pre(least <= Math.floor(budget))
        const found = stitch({ layers, costs, target, base: dearest * 1e9 })
        const real = layers.reduce(
          (sum, layer) => sum + seconds[layer.name]![found.profile[layer.name] as 'level 0'],
          0,
        )
        expect(real * 1e9).toBeLessThanOrEqual(budget * (1 + 1e-12))
        const best = exhaustive(layers, cost, (budget - layers.length - 1) / 1e9)
        expect(found.error).toBeLessThanOrEqual(best + 1e-9)
      }),
    )
  })
})

describe('costs', () => {
  const layer: IndexedLayer = {
    ...{ name: 'conv', shape: [4, 10], uses: 9, file: 'layer-00001.safetensors' },
    levels: [
      { level: 'half', error: 0, form: numbers, kept: 20, masked: true },
      { level: '4 bits', error: 0, form: codes(4), kept: 40, masked: false },
      { level: '8 bits, 2:4', error: 0, form: codes(8), kept: 20, masked: true, pattern: { n: 2, m: 4 } },
    ],
  }
  const all = (kind: 'flops' | 'bit operations' | 'bytes', of = layer) =>
    of.levels.map((level) => costOfLevel({ kind }, of, level))
  test('flops count what is kept, bit operations all bits, bytes mask, values and metadata', () => {
    expect(all('flops')).toEqual([180, 360, 180])
    // 10 columns are none that units for 2:4 take.
    expect(all('bit operations')).toEqual([360 * 32, 360 * 4, 360 * 8])
    expect(all('bit operations', { ...layer, shape: [5, 8] })).toEqual([360 * 32, 360 * 4, 360 * 4])
    // Masks have 2 bytes a row; scales 16 bits and zeros 8.
    expect(layer.levels.map((level) => storedBits(layer, level))).toEqual([64 + 640, 160 + 96, 64 + 160 + 96])
    expect(all('bytes')).toEqual([88, 32, 40])
  })
  test('a level of no cost stays a choice', () => {
    const layers = [
      layerOf('a', [
        [64, 1],
        [0, 2],
      ]),
      layerOf('b', [
        [64, 1],
        [0, 5],
      ]),
    ]
    expect(stitch({ layers, costs: { kind: 'flops' }, target: 2 }).profile).toEqual({
      a: 'level 1',
      b: 'level 0',
    })
  })
  test('the base is the dearest level of each layer, or what is given', () => {
    const layers = [
      layerOf('a', [
        [32, 1],
        [16, 2],
      ]),
    ]
    expect(stitch({ layers, costs: { kind: 'flops' }, target: 2 }).budget).toBe(16)
    expect(stitch({ layers, costs: { kind: 'flops' }, target: 2, base: 64 }).budget).toBe(32)
  })
})

describe('the search of coefficients', () => {
  // The errors say that layer a matters, but the loss only looks at b.
  const layers = [
    layerOf('a', [
      [64, 0],
      [16, 5],
    ]),
    layerOf('b', [
      [64, 0],
      [16, 1],
    ]),
    layerOf('c', [
      [64, 0],
      [16, 1],
    ]),
  ]
  const judge = (profile: Profile) => (profile.b === 'level 1' ? 10 : 0) + (profile.c === 'level 1' ? 1 : 0)
  const options = { layers, costs: { kind: 'flops' }, target: 1.8 } as const

  test('finds the profile with the least loss, and judges each profile once', () => {
    expect(stitch(options).profile).toEqual({ a: 'level 0', b: 'level 1', c: 'level 1' })
    const seen: string[] = []
    const found = stitch({
      ...options,
      search: {
        judge(profile) {
          seen.push(JSON.stringify(profile))
          return judge(profile)
        },
      },
    })
    expect(judge(found.profile)).toBe(1)
    expect(found.profile).toEqual({ a: 'level 1', b: 'level 0', c: 'level 1' })
    expect(new Set(seen).size).toBe(seen.length)
    expect(found.judged).toEqual({ loss: 1, profiles: seen.length })
    expect(found.cost).toBeLessThanOrEqual(found.budget)
    expect(found.error).toBe(6)
  })
  test('never ends with a worse loss than the errors as they are, and is the same for the same seed', () => {
    const plain = stitch(options)
    const stubborn = stitch({
      ...options,
      search: { judge: (p) => (p.b === plain.profile.b ? 0 : Number.NaN), starts: 5, tries: 3 },
    })
    expect(stubborn.profile).toEqual(plain.profile)
    const run = (seed: number) => stitch({ ...options, search: { judge, starts: 3, tries: 2, seed } })
    expect(run(1)).toEqual(run(1))
  })
})

test('targets, bases and timings that cannot be are refused', () => {
  const layers = [
    layerOf('a', [
      [64, 1],
      [32, 2],
    ]),
  ]
  const costs = { kind: 'flops' } as const
  for (const target of [0, -1, Number.NaN])
    expect(() => stitch({ layers, costs, target })).toThrow(OptionError)
  expect(() => stitch({ layers, costs, target: 4 })).toThrow(
    expect.objectContaining({ code: 'PARE_E_BUDGET' }),
  )
  expect(() => stitch({ layers, costs, target: 1, base: -1 })).toThrow(OptionError)
  expect(() =>
    stitch({ layers, costs: { kind: 'timings', seconds: { a: { 'level 0': 1 } } }, target: 1 }),
  ).toThrow(/level 1.*got NaN/)
  expect(() => stitch({ layers, costs, target: 1, search: { judge: () => 0, starts: -1 } })).toThrow(
    OptionError,
  )
})
