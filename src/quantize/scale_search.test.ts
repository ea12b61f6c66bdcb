import { describe, expect, test } from 'vitest'
import { InputMagnitudes } from '../calibrate/input_magnitudes.ts'
import { applyEdits } from '../models/tensor_edits.ts'
import { columnSweep } from '../nn/column_sweep.ts'
import { affineGrid, type Grid } from '../nn/grid.ts'
import { outputError } from '../nn/synthetic_layer.suite.ts'
import { NumericalError } from '../tensor/errors.ts'
import { scope, type Tensor, tensor } from '../tensor/index.ts'
import { searchClip } from './clip_search.ts'
import { plantedChannels } from './planted_channels.suite.ts'
import { roundedWith, scalesOf, searchScales } from './scale_search.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const grid = (bits: 2 | 3 | 4, groupSize = 32) => affineGrid({ bits, groupSize })

function layer(seed: number) {
  const { weight, inputs, gram } = plantedChannels(seed)
  const magnitudes = new InputMagnitudes(128)
  magnitudes.add(inputs)
  return { weight, inputs, gram, means: magnitudes.means() }
}

const search = (
  { weight, gram, means }: Pick<ReturnType<typeof layer>, 'weight' | 'gram' | 'means'>,
  to: Grid,
  { gridPoints = 20, duoScaling = false } = {},
) =>
  searchScales({
    weights: [{ name: 'w', weight, grid: to }],
    means,
    loss: ([rounded]) => outputError(weight, rounded!, gram),
    gridPoints,
    duoScaling,
  })

describe('3 inputs of 128 that are 20 times larger, groups of 32', () => {
  test.each([4, 3, 2] as const)(
    '%i bits: scales leave at most 0.4 of the error of rounding, bounds less still',
    (bits) => {
      for (let seed = 0; seed < 3; seed++)
        scope(() => {
          const planted = layer(seed)
          const { weight, inputs, gram } = planted
          const { scales, loss, lossOfRounding } = search(planted, grid(bits))
          expect(loss / lossOfRounding).toBeLessThanOrEqual(0.4)
          const row = tensor(scales, [1, 128], 'f64')
          const scaled = weight.mul(row)
          const { bounds, groupSize } = searchClip(scaled, inputs.div(row), grid(bits))
          const clamped = applyEdits(scaled, [{ kind: 'clamp', bounds, groupSize }])
          const rounded = columnSweep(clamped, { grid: grid(bits) }).dense.div(row)
          expect(outputError(weight, rounded, gram)).toBeLessThan(loss)
        })
    },
  )
  test('r = 0 reproduces rounding to nearest', () => {
    scope(() => {
      const planted = layer(0)
      const nearest = columnSweep(planted.weight, { grid: grid(3) }).dense
      const { exponent, scales, loss, lossOfRounding } = search(planted, grid(3), { gridPoints: 1 })
      expect([exponent, loss]).toEqual([0, lossOfRounding])
      expect(loss).toBe(outputError(planted.weight, nearest, planted.gram))
      const rounded = roundedWith({ name: 'w', weight: planted.weight, grid: grid(3) }, scales)
      expect(numbers(rounded)).toEqual(numbers(nearest))
    })
  })
  test('shares of weights in the scales help as much', () => {
    scope(() => {
      const { loss, lossOfRounding } = search(layer(0), grid(3), { duoScaling: true })
      expect(loss / lossOfRounding).toBeLessThanOrEqual(0.4)
    })
  })
})

test('scales of one exponent, worked by hand: roots over the root of the largest times the smallest', () => {
  // Roots 1, 2, 4; sqrt(4 * 1) = 2.
  expect([...scalesOf(Float64Array.of(1, 4, 16), 0.5)]).toEqual([0.5, 1, 2])
  // 16^0.5 / (0.25^0.5 + 1e-4) and 1 / (1 + 1e-4), over the root of their product.
  const [high, low] = [4 / 0.5001, 1 / 1.0001]
  const found = scalesOf(Float64Array.of(16, 1), 0.5, Float64Array.of(0.25, 1))
  expect(found[0]).toBeCloseTo(Math.sqrt(high / low), 12)
  expect(found[1]).toBeCloseTo(Math.sqrt(low / high), 12)
})
test('an input that is always 0 has the least scale and leaves all numbers finite', () => {
  const [dead, live] = scalesOf(Float64Array.of(0, 1), 0.5) as unknown as [number, number]
  // 1e-4 and 1 over 1e-2.
  expect(dead).toBeCloseTo(0.01, 12)
  expect(live).toBeCloseTo(100, 10)
})
test('a weight that stays as it is takes no error of its own', () => {
  scope(() => {
    const weight = tensor([0.3, 0.7, -0.2, 1.1], [1, 4])
    expect(roundedWith({ name: 'w', weight, grid: undefined }, Float64Array.of(3, 1, 1, 1))).toBe(weight)
  })
})
test('scales that gain nothing are left out, also with shares of weights', () => {
  scope(() => {
    // Whole steps of the grid of 4 bits from 0 to 15: rounding loses nothing.
    const weight = tensor(
      Float64Array.from({ length: 16 }, (_, i) => i),
      [1, 16],
      'f64',
    )
    const means = Float64Array.from({ length: 16 }, (_, i) => i + 1)
    const gram = tensor(
      Float64Array.from({ length: 256 }, (_, i) => (i % 17 === 0 ? 1 : 0)),
      [16, 16],
      'f64',
    )
    for (const duoScaling of [false, true]) {
      const found = search({ weight, means, gram }, grid(4, 16), { duoScaling })
      expect([found.loss, [...found.scales]]).toEqual([0, new Array(16).fill(1)])
      expect(found.exponent).toBe(duoScaling ? undefined : 0)
    }
  })
})
test('losses that are not finite are an error of the weight', () => {
  scope(() => {
    const weights = [{ name: 'w', weight: tensor([1, 2], [1, 2]), grid: grid(4) }]
    const options = { weights, means: Float64Array.of(1, 1), gridPoints: 3, duoScaling: false }
    expect(() => searchScales({ ...options, loss: () => Number.NaN })).toThrow(NumericalError)
    expect(() => searchScales({ ...options, loss: () => Number.NaN })).toThrow(/^w: .*not finite/)
  })
})
