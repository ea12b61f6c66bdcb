import { describe, expect, test } from 'vitest'
import { type AffineGrid, type AffineValues, affineGrid } from '../nn/grid.ts'
import { outputError, type SyntheticLayer, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import type { StoredSource } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { matmul, randomStream, type Tensor, tensor } from '../tensor/index.ts'
import { setThreads, threads } from '../tensor/native.ts'
import { gptq } from './gptq.ts'
import { type ObqOptions, obq } from './obq.ts'
import { rtn } from './rtn.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const taskOf = ({ weight, gram, inputs }: SyntheticLayer, grid: AffineGrid) => ({
  name: 'block.0/q',
  dense: weight,
  current: weight,
  statistics: { gram, rows: inputs.extent(0) },
  grid,
})
const run = (layer: SyntheticLayer, grid: AffineGrid, options: ObqOptions = {}, mask?: Uint8Array) =>
  obq(options).compress({ ...taskOf(layer, grid), mask })
const valuesOf = ({ source }: ReturnType<typeof run>) => (source as StoredSource).values as AffineValues
const rowGrid = (bits: AffineGrid['bits']) => affineGrid({ bits, groupSize: 'row' })

describe('the checks of the paper', () => {
  test('columns from first to last give the codes of GPTQ with the same damping', () => {
    const layer = syntheticLayer({ seed: 1, rows: 24, columns: 48, tokens: 1000 })
    for (const bits of [2, 3, 4] as const) {
      const grid = rowGrid(bits)
      const found = run(layer, grid, { damping: 0.01, order: 'columns', search: false })
      const edit = gptq({ damping: 0.01 }).compress(taskOf(layer, grid))
      expect(numbers(valuesOf(found).codes)).toEqual(
        numbers((edit.source as unknown as StoredSource & { values: AffineValues }).values.codes),
      )
    }
  })
  test('3 bits have at most 0.8 of the output error of rounding to nearest on the same grid', () => {
    for (const seed of [1, 2, 3]) {
      const layer = syntheticLayer({ seed, rows: 32, columns: 48, tokens: 1000 })
      const nearest = rtn().compress(taskOf(layer, { ...rowGrid(3), search: true })).decoded!
      const found = outputError(layer.weight, run(layer, rowGrid(3)).decoded!, layer.gram)
      expect(found / outputError(layer.weight, nearest, layer.gram)).toBeLessThanOrEqual(0.8)
    }
  })
})

describe('results', () => {
  const layer = syntheticLayer({ seed: 4, rows: 20, columns: 40, tokens: 800 })
  const single = { ...layer, weight: layer.weight.cast('f32') }

  test('the stored codes decode to what is handed on, scales are halves, and groups cost their metadata', () => {
    for (const grid of [
      rowGrid(3),
      affineGrid({ bits: 4, groupSize: 16 }),
      affineGrid({ bits: 2, groupSize: 8, symmetric: true }),
    ]) {
      const edit = run(single, grid)
      expect(numbers(edit.source.dense())).toEqual(numbers(edit.decoded!))
      const { scales, zeros } = valuesOf(edit)
      expect(numbers(scales.cast('f16').cast('f32'))).toEqual(numbers(scales))
      if (grid.symmetric) expect(new Set(numbers(zeros))).toEqual(new Set([2]))
      const groups = grid.groupSize === 'row' ? 1 : Math.ceil(40 / grid.groupSize)
      expect(edit.source.size().storedBits).toBe(800 * grid.bits + 20 * groups * (16 + grid.bits))
    }
  })
  test('the grid is searched by default, as if it said so itself', () => {
    const plain = run(single, { ...rowGrid(3), search: true }, { search: false })
    expect(numbers(run(single, rowGrid(3)).decoded!)).not.toEqual(numbers(plain.decoded!))
    expect(numbers(run(single, { ...rowGrid(3), search: true }).decoded!)).toEqual(
      numbers(run(single, rowGrid(3)).decoded!),
    )
  })
  test('smaller groups have less error at the same bits', () => {
    const errorOf = (groupSize: number | 'row') =>
      outputError(layer.weight, run(layer, affineGrid({ bits: 3, groupSize })).decoded!, layer.gram)
    expect(errorOf(8)).toBeLessThan(errorOf('row'))
  })
  test('a weight on its grid stays as it is, whatever the inputs', () => {
    const weight = tensor(
      Float64Array.from({ length: 800 }, (_, i) => (i % 40 < 2 ? (i % 2) * 15 : (i * 7) % 16) - 3),
      [20, 40],
      'f64',
    )
    const edit = run({ ...layer, weight }, rowGrid(4), { search: false })
    expect(numbers(edit.decoded!)).toEqual(numbers(weight))
  })
  test('the number of threads and the scale of the inputs change nothing', () => {
    const before = threads()
    const want = numbers(run(single, rowGrid(3)).decoded!)
    expect(numbers(run({ ...single, gram: layer.gram.mul(2 ** 40) }, rowGrid(3)).decoded!)).toEqual(want)
    try {
      for (const count of [1, 3]) {
        setThreads(count)
        expect(numbers(run(single, rowGrid(3)).decoded!)).toEqual(want)
      }
    } finally {
      setThreads(before)
    }
  })
})

describe('on a layer that was pruned before', () => {
  const layer = syntheticLayer({ seed: 5, rows: 16, columns: 32, tokens: 600 })
  const drawn = randomStream(2, 'mask').uniform([512]).toArray() as Float32Array
  // One row keeps everything, and one nothing.
  const mask = Uint8Array.from(drawn, (x, i) => Number(i < 32 || (i >= 64 && x < 0.5)))
  const weight = tensor(
    Float64Array.from(numbers(layer.weight), (x, i) => (mask[i] ? x : 0)),
    [16, 32],
    'f64',
  )
  const pruned = { ...layer, weight }

  test('zeros stay exactly 0 and the mask is handed on', () => {
    for (const grid of [rowGrid(3), affineGrid({ bits: 3, groupSize: 8, symmetric: true })]) {
      const edit = run(pruned, grid, {}, mask)
      for (const [i, x] of numbers(edit.decoded!).entries()) if (!mask[i]) expect(x).toBe(0)
      expect(edit.mask).toBe(mask)
      const stored = (edit.source as StoredSource).values
      expect([stored.kind, edit.source.dense().bytes()]).toEqual(['masked_grid', edit.decoded!.bytes()])
    }
  })
  test('a row is rounded as the same row over the inputs that it keeps', () => {
    const edit = run(pruned, rowGrid(3), { damping: 0 }, mask)
    for (const row of [0, 3, 9]) {
      const kept = Array.from({ length: 32 }, (_, i) => i).filter((i) => mask[row * 32 + i])
      const g = numbers(layer.gram)
      const gram = tensor(
        kept.flatMap((p) => kept.map((q) => g[p * 32 + q]!)),
        [kept.length, kept.length],
        'f64',
      )
      const own = tensor(
        kept.map((p) => numbers(weight)[row * 32 + p]!),
        [1, kept.length],
        'f64',
      )
      const alone = run({ ...layer, weight: own, gram }, rowGrid(3), { damping: 0 })
      expect(kept.map((p) => numbers(edit.decoded!)[row * 32 + p])).toEqual(numbers(alone.decoded!))
    }
  })
  test('it has less error than rounding the pruned weights to nearest', () => {
    const nearest = rtn().compress(taskOf(pruned, { ...rowGrid(3), search: true })).decoded!
    const found = run(pruned, rowGrid(3), {}, mask).decoded!
    expect(outputError(weight, found, layer.gram)).toBeLessThan(outputError(weight, nearest, layer.gram))
  })
})

describe('difficult inputs', () => {
  const layer = syntheticLayer({ seed: 6, rows: 8, columns: 16, tokens: 300 })
  const gramOf = (inputs: Tensor) => matmul(inputs.transpose(), inputs)

  test('fewer tokens than inputs, equal inputs and dead inputs are damped and told', () => {
    const few = layer.inputs.slice(0, 0, 6)
    const edit = run({ ...layer, inputs: few, gram: gramOf(few) }, rowGrid(3))
    expect([edit.diagnostics.damping, edit.diagnostics.notes]).toEqual([
      0.01,
      ['only 6 tokens for 16 inputs'],
    ])
    const twins = layer.inputs.slice(1, 0, 8).unsqueeze(2).expand([300, 8, 2]).reshape([300, 16])
    const raised = run({ ...layer, inputs: twins, gram: gramOf(twins) }, rowGrid(3))
    expect(raised.diagnostics.notes).toEqual(['damping raised to 0.01'])
    const alive = tensor(
      Float64Array.from({ length: 16 }, (_, i) => Number(i > 0)),
      [16],
      'f64',
    )
    const dead = run({ ...layer, gram: gramOf(layer.inputs.mul(alive)) }, rowGrid(3))
    expect(dead.diagnostics.notes).toEqual(['1 inputs are always 0'])
    expect(numbers(dead.decoded!).filter((_, i) => i % 16 === 0)).toEqual(Array(8).fill(0))
  })
  test('rows that are constant or 0 are rounded exactly', () => {
    const weight = tensor(
      Float64Array.from({ length: 128 }, (_, i) => (i < 16 ? 0.5 : 0)),
      [8, 16],
      'f64',
    )
    // 0.5 / 7 is no half, so that the row is near, and the zeros are exact.
    const values = numbers(run({ ...layer, weight }, rowGrid(3), { search: false }).decoded!)
    for (const [i, x] of values.entries())
      expect(Math.abs(x - (i < 16 ? 0.5 : 0))).toBeLessThanOrEqual(i < 16 ? 0.5 * 2 ** -10 : 0)
  })
  test('a Hessian that no damping mends stops, or rounds to nearest where that is asked for', () => {
    const cells = Float64Array.from({ length: 256 }, (_, i) =>
      i % 17 === 0 ? 1 : 50 * Math.cos(Math.floor(i / 16) * (i % 16)),
    )
    const gram = tensor(cells, [16, 16], 'f64')
    expect(() => run({ ...layer, gram }, rowGrid(3))).toThrow(
      expect.objectContaining({ code: 'PARE_E_SINGULAR' }),
    )
    const edit = run({ ...layer, gram }, rowGrid(3), { onSingular: 'round' })
    const nearest = rtn().compress(taskOf(layer, { ...rowGrid(3), search: true }))
    expect(numbers(edit.decoded!)).toEqual(numbers(nearest.decoded!).map(Math.fround))
    expect(edit.diagnostics.notes).toEqual([
      'rounded to nearest, since its Gram matrix has no usable inverse',
    ])
    const hole = tensor(
      cells.map((x, i) => (i === 3 ? Number.NaN : x)),
      [16, 16],
      'f64',
    )
    expect(() => run({ ...layer, gram: hole }, rowGrid(3), { onSingular: 'round' })).toThrow(NumericalError)
  })
  test('impossible options, grids of blocks and tasks without a Gram matrix are refused', () => {
    expect(() => obq({ damping: -1 })).toThrow(OptionError)
    expect(() => obq({ order: 'random' as 'greedy' })).toThrow(OptionError)
    const task = taskOf(layer, rowGrid(3))
    expect(() => obq().compress({ ...task, grid: { kind: 'blocks', type: 'Q3_K' } })).toThrow(
      /evenly spaced levels, got blocks of Q3_K/,
    )
    expect(() => obq().compress({ ...task, statistics: { rows: 1 } })).toThrow(OptionError)
  })
})
