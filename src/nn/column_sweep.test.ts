import { describe, expect, test } from 'vitest'
import { randomStream, type Tensor, tensor } from '../tensor/index.ts'
import { codedTypeNames } from './block_types.ts'
import { fitGroup, oracleSweep } from './column_sweep.oracle.suite.ts'
import { columnSweep } from './column_sweep.ts'
import { type AffineGrid, type AffineValues, affineGrid, decodeValues } from './grid.ts'
import { dampedHessian, sweepFactor, syntheticLayer } from './synthetic_layer.suite.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const grids = [
  { bits: 4, groupSize: 'row', scaleType: 'f32' },
  { bits: 3, groupSize: 16 },
  { bits: 2, groupSize: 10 },
  { bits: 3, groupSize: 16, symmetric: true },
  { bits: 2, groupSize: 32, search: true },
  { bits: 8, groupSize: 48, scaleType: 'f32', zeroLow: 1 },
] as const satisfies readonly Partial<AffineGrid>[]
const orders = ['first to last', 'sorted', 'sorted, static groups'] as const

const layer = syntheticLayer({ seed: 1, rows: 19, columns: 48, tokens: 300 })
const hessian = dampedHessian(layer.gram, 0.01)
const sorted = randomStream(1, 'order').permutation(48).toArray() as Uint32Array

describe.each(grids)('$bits bits, groups of $groupSize', (options) => {
  const grid = affineGrid(options)
  test.each(orders)('the native sweep equals plain loops in every bit of f64: %s', (which) => {
    const order = which === 'first to last' ? undefined : sorted
    const staticGroups = which === 'sorted, static groups'
    const factor = sweepFactor(hessian, order)
    const expected = oracleSweep(layer.weight.toArray() as Float64Array, 48, {
      grid,
      factor: factor.toArray() as Float64Array,
      order,
      staticGroups,
    })
    const found = columnSweep(layer.weight, { grid, factor, order, staticGroups })
    const values = found.values as AffineValues
    expect(numbers(values.scales)).toEqual([...expected.scales])
    expect(numbers(values.zeros)).toEqual([...expected.zeros])
    expect(numbers(values.codes)).toEqual([...expected.codes])
    expect(numbers(found.dense)).toEqual([...expected.dense])
    expect(numbers(found.losses)).toEqual([...expected.losses])
  })
  test('without a factor each weight goes to its nearest level', () => {
    const expected = oracleSweep(layer.weight.toArray() as Float64Array, 48, { grid })
    const found = columnSweep(layer.weight, { grid })
    expect(numbers((found.values as AffineValues).codes)).toEqual([...expected.codes])
    expect(numbers(found.losses)).toEqual(Array(19).fill(0))
  })
  test.each(orders)('codes, scales and zeros decode to the values of the sweep: %s', (which) => {
    const order = which === 'first to last' ? undefined : sorted
    const staticGroups = which === 'sorted, static groups'
    const factor = sweepFactor(hessian, order).cast('f32')
    const { values, dense } = columnSweep(layer.weight.cast('f32'), { grid, factor, order, staticGroups })
    expect(numbers(decodeValues(values))).toEqual(numbers(dense))
  })
})

test.each([2, 3, 4, 8] as const)(
  'in f64 the block size changes no code at %i bits, also with groups inside a block',
  (bits) => {
    const factor = sweepFactor(hessian)
    for (const groupSize of ['row', 12] as const) {
      const grid = affineGrid({ bits, groupSize })
      const [first, ...others] = [1, 4, 32, 128, 48].map((block) =>
        numbers((columnSweep(layer.weight, { grid, factor, block }).values as AffineValues).codes),
      )
      for (const codes of others) expect(codes).toEqual(first)
    }
  },
)

test('in f32 the block size flips at most one code in a hundred, by one', () => {
  const factor = sweepFactor(hessian).cast('f32')
  const [first, ...others] = [1, 4, 32, 128].map((block) =>
    numbers(
      (
        columnSweep(layer.weight.cast('f32'), { grid: affineGrid({ groupSize: 'row' }), factor, block })
          .values as AffineValues
      ).codes,
    ),
  )
  for (const codes of others) {
    const flips = codes.map((code, i) => Math.abs(code - first![i]!))
    expect(Math.max(...flips)).toBeLessThanOrEqual(1)
    expect(flips.filter((flip) => flip > 0).length).toBeLessThanOrEqual(codes.length / 100)
  }
})

test('the losses are half the energy of the error through the damped Hessian, with groups too', () => {
  for (const groupSize of ['row', 16] as const) {
    const { dense, losses } = columnSweep(layer.weight, {
      grid: affineGrid({ bits: 3, groupSize }),
      factor: sweepFactor(hessian),
    })
    const lost = numbers(layer.weight.sub(dense))
    for (const [row, loss] of numbers(losses).entries()) {
      let energy = 0
      for (let i = 0; i < 48; i++)
        for (let j = 0; j < 48; j++)
          energy += lost[row * 48 + i]! * hessian[i * 48 + j]! * lost[row * 48 + j]!
      expect(Math.abs(loss - energy / 2)).toBeLessThan(1e-6 * loss)
    }
  }
})

test('stale groups are fitted without the updates of the running block, so that a block of one column makes them fresh', () => {
  const options = { grid: affineGrid({ bits: 3, groupSize: 8 }), factor: sweepFactor(hessian) }
  const scales = (extra: object) =>
    numbers((columnSweep(layer.weight, { ...options, ...extra }).values as AffineValues).scales)
  expect(scales({ stale: true, block: 128 })).not.toEqual(scales({}))
  expect(scales({ stale: true, block: 1 })).toEqual(scales({}))
  // With one block over all columns no group has seen an update: the fit is that of the original weights.
  expect(scales({ stale: true, block: 128 })).toEqual(
    numbers((columnSweep(layer.weight, { grid: options.grid }).values as AffineValues).scales),
  )
})

test('a width that the groups do not divide leaves a shorter last group with a scale of its own', () => {
  const weight = tensor([0, 3, 0, 3, 0, 0.75], [1, 6], 'f64')
  const { values, dense } = columnSweep(weight, { grid: affineGrid({ bits: 2, groupSize: 4 }) })
  expect(numbers((values as AffineValues).scales)).toEqual([1, 0.25])
  expect(numbers(dense)).toEqual([0, 3, 0, 3, 0, 0.75])
})

test('the search keeps the whole range where nothing narrower is better', () => {
  const grid = affineGrid({ bits: 2, search: true })
  expect(fitGroup([0, 1, 2, 3], grid)).toEqual({ scale: 1, zero: 0 })
  const { values } = columnSweep(tensor([0, 1, 2, 3], [1, 4], 'f64'), { grid })
  expect(numbers((values as AffineValues).scales)).toEqual([1])
})

describe('ggml blocks', () => {
  const wide = syntheticLayer({ seed: 2, rows: 5, columns: 256, tokens: 600 })
  const order = randomStream(2, 'order').permutation(256).toArray() as Uint32Array
  const damped = dampedHessian(wide.gram, 0.01)

  test.each(codedTypeNames)(
    '%s: the packed bytes decode to the values that the sweep saw, with and without feedback',
    (type) => {
      const weight = wide.weight.cast('f32')
      const grid = { kind: 'blocks', type } as const
      const runs = [
        columnSweep(weight, { grid }),
        columnSweep(weight, { grid, factor: sweepFactor(damped).cast('f32') }),
        columnSweep(weight, {
          grid,
          factor: sweepFactor(damped, order).cast('f32'),
          order,
          staticGroups: true,
        }),
      ]
      for (const { values, dense } of runs) {
        const decoded = numbers(decodeValues(values))
        // step * level - offset is rounded twice in f32, in either program.
        const largest = Math.max(...decoded.map(Math.abs))
        for (const [i, value] of numbers(dense).entries())
          expect(Math.abs(value - decoded[i]!)).toBeLessThanOrEqual(largest * 2 ** -22)
      }
    },
  )
  test.each(codedTypeNames)('%s: the block size of the sweep changes no byte in f64', (type) => {
    const bytes = [1, 100, 256].map((block) => {
      const { values } = columnSweep(wide.weight, {
        grid: { kind: 'blocks', type },
        factor: sweepFactor(damped),
        block,
      })
      return values.kind === 'blocks' ? numbers(values.bytes) : []
    })
    expect(bytes[1]).toEqual(bytes[0])
    expect(bytes[2]).toEqual(bytes[0])
  })
  test.each(['Q8_0', 'Q4_0', 'Q5_0'] as const)(
    '%s: rounding what is rounded already changes no byte',
    (type) => {
      const grid = { kind: 'blocks', type } as const
      const once = columnSweep(wide.weight.cast('f32'), { grid })
      const twice = columnSweep(decodeValues(once.values), { grid, factor: sweepFactor(damped).cast('f32') })
      expect(numbers(decodeValues(twice.values))).toEqual(numbers(decodeValues(once.values)))
    },
  )
  test('another order needs static groups', () => {
    expect(() => columnSweep(wide.weight, { grid: { kind: 'blocks', type: 'Q4_K' }, order })).toThrow(
      /static groups/,
    )
  })
})

test('a weight that is not finite is refused by row and column', () => {
  const weight = tensor([0, 1, Number.NaN, 3], [2, 2], 'f64')
  expect(() => columnSweep(weight, { grid: affineGrid() })).toThrow(/row 1, column 0 .* not finite/)
})
