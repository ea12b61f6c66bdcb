import { describe, expect, test } from 'vitest'
import { describeStored } from '../models/stored/pare_tensors.ts'
import { readStored } from '../models/stored/read_stored.ts'
import { archiveOf } from '../models/stored/stored_archive.suite.ts'
import { type AffineGrid, affineGrid } from '../nn/grid.ts'
import { oracleSparseSweep } from '../nn/sparse_sweep.oracle.suite.ts'
import { dampedHessian, outputError, sweepFactor, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { decodeStored, type StoredSource } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { randomStream, tensor } from '../tensor/index.ts'
import type { GptqOptions } from './gptq.ts'
import { codesOf, diagonal, numbers, run as runGptq } from './gptq_layer.suite.ts'
import { maskedQuantizer } from './masked_gptq.ts'

const layer = syntheticLayer({ seed: 5, rows: 40, columns: 96, tokens: 2000 })
const drawn = randomStream(5, 'mask')
  .uniform([40 * 96], 'f64')
  .toArray() as Float64Array
const mask = Uint8Array.from(drawn, (x) => (x < 0.5 ? 1 : 0))
const current = layer.weight.mul(tensor(mask, [40, 96], 'f64'))
const task = (grid: AffineGrid, own = current) => ({
  ...{ name: 'block.0/q', dense: layer.weight, current: own, mask, grid },
  statistics: { gram: layer.gram, rows: 2000 },
})
const gptq = (grid: AffineGrid, options: GptqOptions = {}) =>
  maskedQuantizer('gptq', options).compress(task(grid))
const valuesOf = (edit: ReturnType<typeof gptq>) => (edit.source as StoredSource).values
const grids = [
  affineGrid({ bits: 4, groupSize: 'row' }),
  affineGrid({ bits: 3, groupSize: 20 }),
  affineGrid({ bits: 2, groupSize: 32, symmetric: true }),
]

describe.each(grids)('$bits bits, groups of $groupSize', (grid) => {
  test.each<[string, 'gptq' | 'rtn', GptqOptions]>([
    ['gptq', 'gptq', {}],
    ['gptq in act-order', 'gptq', { actOrder: true }],
    ['gptq in act-order with static groups', 'gptq', { actOrder: true, staticGroups: true }],
    ['rtn', 'rtn', {}],
  ])(
    '%s: zeros stay exactly 0, and what is stored decodes to what was decided, from the file too',
    (_, method, options) => {
      const edit = maskedQuantizer(method, options).compress(task(grid, current.cast('f32')))
      expect(edit.mask).toEqual(mask)
      expect(numbers(edit.decoded!).filter((w, i) => w !== 0 && !mask[i])).toEqual([])
      expect(edit.source.dense().bytes()).toEqual(edit.decoded!.bytes())
      const values = valuesOf(edit)
      const read = readStored(archiveOf(values), 'w', describeStored(values), 3, 31)
      expect(decodeStored(read).bytes()).toEqual(edit.decoded!.bytes().slice(3 * 96 * 4, 31 * 96 * 4))
    },
  )
  test('codes are those of plain loops that push what a pruned column has gathered', () => {
    const expected = oracleSparseSweep(current.toArray() as Float64Array, 96, {
      factor: sweepFactor(dampedHessian(layer.gram, 0.01)).toArray() as Float64Array,
      ...{ mask, grid },
    })
    const dense = Float64Array.from(expected.dense, Math.fround)
    expect(numbers(gptq(grid).decoded!)).toEqual([...dense])
  })
  test('it loses less than rounding to nearest', () => {
    const error = (edit: ReturnType<typeof gptq>) => outputError(current, edit.decoded!, layer.gram)
    expect(error(gptq(grid))).toBeLessThan(0.8 * error(maskedQuantizer('rtn').compress(task(grid))))
  })
  test('with every weight alive the codes are those of gptq', () => {
    const all = { ...task(grid, layer.weight), mask: new Uint8Array(40 * 96).fill(1) }
    for (const options of [
      {},
      { actOrder: true, staticGroups: true },
      { staleGroups: true, blockSize: 64 },
    ]) {
      const values = valuesOf(maskedQuantizer('gptq', options).compress(all))
      if (values.kind !== 'masked_grid') throw new Error(values.kind)
      expect(numbers(values.codes)).toEqual(codesOf(runGptq(layer, grid, options)))
    }
  })
})

test('the block size changes no code', () => {
  const [first, ...others] = [128, 1, 40].map((blockSize) => numbers(gptq(grids[1]!, { blockSize }).decoded!))
  for (const dense of others) expect(dense).toEqual(first)
})
test('a task without a mask, without evenly spaced levels or without a Gram matrix is refused by name', () => {
  const { mask: _, ...without } = task(grids[0]!)
  const { grid: _grid, ...bare } = task(grids[0]!)
  const quantizer = maskedQuantizer('gptq')
  expect(() => quantizer.compress(without)).toThrow(/^block\.0\/q: needs the mask/)
  expect(() => quantizer.compress(bare)).toThrow(/^block\.0\/q: .*got no grid/)
  expect(() => quantizer.compress({ ...bare, grid: { kind: 'blocks', type: 'Q4_0' } })).toThrow(/got Q4_0/)
  expect(() => quantizer.compress({ ...task(grids[0]!), statistics: { rows: 0 } })).toThrow(OptionError)
})
test('a Gram matrix without a factor stops, or is rounded to nearest where that is asked for', () => {
  const gram = diagonal(Array.from({ length: 96 }, (_, i) => (i === 0 ? -30 : 1)))
  const hopeless = { ...task(grids[0]!), statistics: { gram, rows: 2000 } }
  expect(() => maskedQuantizer('gptq').compress(hopeless)).toThrow(NumericalError)
  const edit = maskedQuantizer('gptq', { onSingular: 'round' }).compress(hopeless)
  expect(edit.diagnostics.notes).toEqual([expect.stringMatching(/rounded to nearest/)])
  expect(numbers(edit.decoded!)).toEqual(numbers(maskedQuantizer('rtn').compress(task(grids[0]!)).decoded!))
})
test('options that cannot be are refused when the method is made', () => {
  for (const options of [{ damping: 0 }, { blockSize: 0.5 }])
    expect(() => maskedQuantizer('gptq', options)).toThrow(OptionError)
})
