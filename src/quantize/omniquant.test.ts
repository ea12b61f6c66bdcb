import { describe, expect, test } from 'vitest'
import { openFixture } from '../models/llama/fixtures.suite.ts'
import { runStage, type Stage } from '../models/stage.ts'
import { type AffineGrid, type AffineValues, affineGrid, type Grid } from '../nn/grid.ts'
import type { Linear } from '../nn/linear.ts'
import type { StoredSource } from '../nn/values/values.ts'
import { AbortError, NumericalError, OptionError } from '../tensor/errors.ts'
import { randomStream, scope, type Tensor, tensor } from '../tensor/index.ts'
import { omniquant, omniquantTuner } from './omniquant.ts'
import { rtn } from './rtn.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const linearsOf = (stage: Stage) => stage.segments.flatMap(({ linears }) => linears)
const valuesOf = ({ source }: Linear) => (source as StoredSource).values as AffineValues
const task = (dense: Tensor, grid: Grid) => ({
  name: 'w',
  dense,
  current: dense,
  statistics: { rows: 0 },
  grid,
})

describe('0 epochs', () => {
  const weight = randomStream(2, 'weight').normal([8, 48], 'f64')
  const share = 1 / (1 + Math.exp(-4))

  test.each([
    [false, 2],
    [false, 3],
    [true, 3],
    [true, 4],
  ] as const)(
    'are rounding to nearest with ranges times sigmoid(4), code for code; symmetric %s, %d bits',
    (symmetric, bits) => {
      const grid = affineGrid({ bits, symmetric, groupSize: 16, scaleType: 'f32' })
      const { source, decoded } = omniquant({ epochs: 0 }).compress(task(weight, grid))
      const { codes, scales } = (source as StoredSource).values as AffineValues
      const w = numbers(weight)
      const top = 2 ** bits - 1
      const want: number[] = []
      for (let start = 0; start < w.length; start += 16) {
        const group = w.slice(start, start + 16)
        const [most, least] = [Math.max(0, ...group) * share, Math.min(0, ...group) * share]
        const widest = Math.max(most, -least)
        const h = symmetric ? (2 * widest) / top : (most - least) / top
        const zero = symmetric ? 2 ** (bits - 1) : Math.round(-least / h)
        for (const x of group) want.push(Math.min(top, Math.max(0, Math.round(x / h) + zero)))
        expect(numbers(scales)[start / 16]).toBe(Math.fround(h))
      }
      expect(share).toBeCloseTo(0.982, 3)
      expect(numbers(codes)).toEqual(want)
      expect(numbers(source.dense())).toEqual(numbers(decoded!.cast('f32')))
    },
  )
  test('train nothing', () => expect(omniquantTuner({ epochs: 0 })).toBeUndefined())
})

/** A block of a tiny model, rounded, with inputs that differ from those that the targets are for. */
function block(grid: Partial<AffineGrid> = {}, mask?: (name: string, size: number) => Uint8Array) {
  const open = openFixture('smollm')
  const stage = open.model.stages[0]!.load()
  const random = randomStream(0, 'inputs')
  const context = open.model.context(8)
  const inputs = [2, 2, 3].map((count) => random.normal([count, 8, 24]))
  const targets = inputs.map((x) => scope(() => runStage(stage, x.mul(1.01), context)))
  for (const linear of linearsOf(stage)) {
    const own = mask?.(linear.name, linear.source.shape[0] * linear.source.shape[1])
    const dense = linear.source.dense()
    const current = own ? dense.mul(tensor(Float32Array.from(own), dense.shape)) : dense
    const asked = affineGrid({ bits: 3, groupSize: 8, ...grid })
    linear.source = omniquant().compress({ ...task(dense, asked), current, mask: own }).source
  }
  open.close()
  const samples = {
    count: inputs.length,
    input: (batch: number) => inputs[batch]!.alias(),
    target: (batch: number) => targets[batch]!.alias(),
    context: () => context,
  }
  const loss = () =>
    scope(() => {
      const sums = inputs.map(
        (x, i) => runStage(stage, x, context).sub(targets[i]!).square().mean().item() * x.extent(0),
      )
      return sums.reduce((a, b) => a + b, 0) / 7
    })
  return { stage, samples, loss }
}

describe.each([
  ['asymmetric', {}],
  ['symmetric', { symmetric: true }],
  ['2 bits, one range a row', { bits: 2, groupSize: 'row' }],
] as const)('training, %s', (_, grid) => {
  const { stage, samples, loss } = block(grid)
  const before = loss()
  const starts = linearsOf(stage).map((linear) => numbers(valuesOf(linear).scales))
  const { losses, kept, floats } = omniquantTuner({ rate: 0.1, epochs: 15 })!.tune(stage, samples, {})!

  test('the loss before is that of the rounded block, and that after is the least of all', () => {
    expect(losses).toHaveLength(16)
    // Sums of f32 in another order.
    expect(losses[0]! / before).toBeCloseTo(1, 5)
    expect(losses[kept]).toBe(Math.min(...losses))
    expect(loss() / losses[kept]!).toBeCloseTo(1, 5)
  })
  test('it learns', () => {
    expect(kept).toBeGreaterThan(0)
    expect(losses[kept]!).toBeLessThan(0.95 * losses[0]!)
    expect(linearsOf(stage).map((linear) => numbers(valuesOf(linear).scales))).not.toEqual(starts)
    expect(floats).toEqual([])
  })
  test('layers hold codes with scales in f16, and no weight as numbers', () => {
    for (const linear of linearsOf(stage)) {
      const { kind, scales } = valuesOf(linear)
      expect(kind).toBe('grid')
      expect(numbers(scales)).toEqual(numbers(scales.cast('f16').cast('f32')))
      expect(linear.source).not.toHaveProperty('clipping')
    }
  })
})

test('a rate at which nothing is learned leaves the ranges of the start', () => {
  const { stage, samples } = block()
  const starts = linearsOf(stage).map((linear) => numbers(valuesOf(linear).codes))
  const { losses, kept } = omniquantTuner({ rate: 1e3, epochs: 2 })!.tune(stage, samples, {})!
  expect(kept).toBe(0)
  expect(losses).toHaveLength(3)
  expect(linearsOf(stage).map((linear) => numbers(valuesOf(linear).codes))).toEqual(starts)
})
test('the same seed gives the same codes, another one another order', () => {
  const trained = (seed: number) => {
    const { stage, samples } = block()
    omniquantTuner({ rate: 0.1, epochs: 3, seed })!.tune(stage, samples, {})
    return linearsOf(stage).map((linear) => numbers(valuesOf(linear).scales))
  }
  expect(trained(1)).toEqual(trained(1))
  expect(trained(1)).not.toEqual(trained(2))
})
test('steps of one sequence, of some, and of more than a batch holds', () => {
  const steps = (batch: number) => {
    const { stage, samples } = block()
    let count = 0
    const progress = (share: number) => {
      count++
      expect(share).toBeLessThanOrEqual(1)
    }
    omniquantTuner({ epochs: 1, batch })!.tune(stage, samples, { progress })
    return count
  }
  expect([1, 2, 3, 6, 100].map(steps)).toEqual([7, 4, 3, 2, 1])
})
test('40 epochs where a weight of the block has 2 bits, else 20', () => {
  for (const [bits, epochs] of [
    [2, 40],
    [3, 20],
  ] as const) {
    const { stage, samples } = block({ bits })
    expect(omniquantTuner({ batch: 100 })!.tune(stage, samples, {})!.losses).toHaveLength(epochs + 1)
  }
})
test('what was pruned stays 0 through training, and takes no code', () => {
  const marks = (name: string, size: number) =>
    Uint8Array.from(randomStream(0, name).bits([size]).toArray() as Uint32Array, (x) => x % 2)
  const { stage, samples } = block({}, marks)
  omniquantTuner({ rate: 0.1, epochs: 3 })!.tune(stage, samples, {})
  for (const linear of linearsOf(stage)) {
    const { values, shape } = linear.source as StoredSource
    const mask = marks(linear.name, shape[0] * shape[1])
    expect(values.kind).toBe('masked_grid')
    for (const [i, x] of numbers(linear.source.dense()).entries()) if (!mask[i]) expect(x).toBe(0)
  }
})
test('a stage with other weights alone is left as it is', () => {
  const { stage, samples } = block()
  for (const linear of linearsOf(stage)) {
    const dense = linear.source.dense()
    linear.source = rtn().compress(
      task(dense, affineGrid()) as Parameters<ReturnType<typeof rtn>['compress']>[0],
    ).source
  }
  expect(omniquantTuner()!.tune(stage, samples, {})).toBeUndefined()
})
test('a signal ends it between two steps', () => {
  const { stage, samples } = block()
  const controller = new AbortController()
  const hooks = { signal: controller.signal, progress: () => controller.abort() }
  expect(() => omniquantTuner()!.tune(stage, samples, hooks)).toThrow(AbortError)
})
test('targets that are not finite end it', () => {
  const { stage, samples } = block()
  const target = (batch: number) => samples.target(batch).mul(Number.NaN)
  expect(() => omniquantTuner({ epochs: 1 })!.tune(stage, { ...samples, target }, {})).toThrow(NumericalError)
})
test('options that cannot be, grids of blocks and grids that search are refused', () => {
  for (const options of [
    { rate: 0 },
    { rate: Number.NaN },
    { epochs: -1 },
    { epochs: 0.5 },
    { batch: 0 },
    { seed: -1 },
  ]) {
    expect(() => omniquant(options)).toThrow(OptionError)
    expect(() => omniquantTuner(options)).toThrow(OptionError)
  }
  const weight = randomStream(0, 'w').normal([2, 32])
  const compress = (grid: Grid) => () => omniquant().compress(task(weight, grid))
  expect(compress({ kind: 'blocks', type: 'Q4_0' })).toThrow(
    /w: omniquant learns ranges of evenly spaced levels, got blocks of Q4_0; choose/,
  )
  expect(compress(affineGrid({ search: true }))).toThrow(/leave it out/)
})
