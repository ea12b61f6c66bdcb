import { describe, expect, test } from 'vitest'
import type { LayerEdit } from '../calibrate/method.ts'
import { affineGrid } from '../nn/grid.ts'
import { spqrSweep } from '../nn/spqr_sweep.ts'
import { dampedHessian, outputError, sweepFactor, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { residentSource } from '../nn/values/resident_source.ts'
import type { SparseRowValues } from '../nn/values/sparse_rows.ts'
import { bitsOfStored, decodeStored, type StoredSource, type StoredValues } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { randomStream, type Tensor, tensor } from '../tensor/index.ts'
import { codesOf, run as gptqRun, nearest, numbers, rowGrid } from './gptq_layer.suite.ts'
import { type SpqrOptions, spqr } from './spqr.ts'

const { gram, weight: normal } = syntheticLayer({ seed: 5, rows: 64, columns: 128, tokens: 4000 })
/** 60 weights are six times as large as the others. */
const weight = tensor(
  Float64Array.from(numbers(normal), (w, i) => (i % 137 === 5 && i < 60 * 137 ? 6 * w : w)),
  [64, 128],
  'f64',
)
const layer = { weight, gram }
const run = (options: SpqrOptions = {}, current: Tensor = weight): LayerEdit =>
  spqr(options).compress({
    ...{ name: 'block.0/q', dense: current, current },
    statistics: { gram, rows: 4000 },
  })
const stored = (edit: LayerEdit): StoredValues => (edit.source as StoredSource).values
function outliersOf(edit: LayerEdit): SparseRowValues {
  const values = stored(edit)
  const sum = (values.kind === 'permuted' ? values.values : values) as StoredValues & { kind: 'sum' }
  return sum.terms[1] as SparseRowValues
}
const share = (edit: LayerEdit) => outliersOf(edit).values.length / (64 * 128)
const errorOf = (edit: Pick<LayerEdit, 'decoded'>) => outputError(weight, edit.decoded!, gram)
const none = Number.POSITIVE_INFINITY

describe('what a correct implementation must show', () => {
  test('1: without outliers, with one group a row, whole zeros and f16 scales, codes are those of GPTQ', () => {
    for (const actOrder of [false, true]) {
      const options = { damping: 0.01, actOrder }
      const edit = run({
        ...options,
        ...{ outlierThreshold: none, groupSize: 128, secondOrder: false, roundZero: true },
      })
      const values = stored(edit)
      const order = values.kind === 'permuted' ? values.order : Uint32Array.from({ length: 128 }, (_, i) => i)
      const grid = (values.kind === 'permuted' ? values.values : values) as StoredValues & { kind: 'grid' }
      const codes = new Array<number>(64 * 128)
      for (const [at, code] of numbers(grid.codes).entries()) codes[at - (at % 128) + order[at % 128]!] = code
      const expected = gptqRun(layer, affineGrid({ bits: 3, groupSize: 'row' }), options)
      expect(codes).toEqual(codesOf(expected))
      expect(numbers(edit.decoded!)).toEqual(numbers(expected.decoded!))
    }
  })
  test('2: the sum of e^2 is the damped error of the layer, with and without outliers', () => {
    const hessian = dampedHessian(gram, 1)
    for (const threshold of [none, 0.2, 0.05]) {
      const { dense, losses, outliers } = spqrSweep(weight, {
        ...{ bits: 3, groupSize: 16, roundZero: false, leaveOneOut: true, block: 128, threshold },
        second: { scaleBits: 3, zeroBits: 3, run: 16 },
        factor: sweepFactor(hessian),
      })
      expect(outliers > 0).toBe(threshold < none)
      const error = outputError(weight, dense, tensor(hessian, [128, 128], 'f64'))
      const sum = 2 * numbers(losses).reduce((a, b) => a + b)
      expect(Math.abs(sum / error - 1)).toBeLessThan(1e-6)
    }
  })
  test('3: more outliers as the threshold falls, and less error; a threshold of 0 leaves the layer as it is', () => {
    const edits = [none, 0.2, 0.1, 0.05].map((outlierThreshold) => run({ outlierThreshold }))
    for (let i = 1; i < edits.length; i++) {
      expect(share(edits[i]!)).toBeGreaterThan(share(edits[i - 1]!))
      expect(errorOf(edits[i]!)).toBeLessThan(errorOf(edits[i - 1]!))
    }
    expect(share(edits[0]!)).toBe(0)
    // Values are f16 there, with a relative error of 2^-11 each, and what is left is passed on.
    const exact = run({ outlierThreshold: 0 })
    expect(errorOf(exact)).toBeLessThan(2 ** -20 * errorOf({ decoded: weight.mul(0) }))
    const found = numbers(exact.decoded!)
    for (const [i, w] of numbers(weight).entries())
      expect(Math.abs(found[i]! - w)).toBeLessThan(2 ** -9 * Math.max(Math.abs(w), 2 ** -5))
  })
  test('4: small groups beat one scale a row, outliers beat none, and leaving each out beats fitting all', () => {
    const options = { damping: 0.01 }
    const without = errorOf(run({ ...options, outlierThreshold: none }))
    expect(without / errorOf(nearest(layer, rowGrid(3)))).toBeLessThan(0.35)
    expect(without / errorOf(gptqRun(layer, rowGrid(3)))).toBeLessThan(0.5)
    const some = run({ ...options, outlierThreshold: 0.2 })
    expect(share(some)).toBeGreaterThan(0.01)
    expect(share(some)).toBeLessThan(0.022)
    expect(errorOf(some) / without).toBeLessThan(0.75)
    for (const outlierThreshold of [0.2, 0.1]) {
      const simplified = run({ ...options, outlierThreshold, simplifiedOutliers: true })
      expect(errorOf(run({ ...options, outlierThreshold }))).toBeLessThan(errorOf(simplified))
    }
  })
  test('5: scales of 3 bits cost little beside scales in f16', () => {
    const error = (secondOrder: boolean) => errorOf(run({ outlierThreshold: none, secondOrder }))
    expect(error(true) / error(false)).toBeLessThan(1.2)
  })
  test('6: blocks of 16, 32 and 128 columns give the same result, and one that cuts a group is refused', () => {
    const [first, ...others] = [16, 32, 128].map((blockSize) => run({ blockSize }))
    for (const edit of others) {
      expect(numbers(edit.decoded!)).toEqual(numbers(first!.decoded!))
      expect([...outliersOf(edit).columns]).toEqual([...outliersOf(first!).columns])
    }
    expect(() => spqr({ groupSize: 24 })).not.toThrow()
    expect(() => spqr({ blockSize: 24 })).toThrow(/multiple of the group of 16, got 24; use 16/)
  })
  test('7: 3.625 bits a weight, 32 bits an outlier, and what rows and the order take', () => {
    // 3 bits, scale and zero of 3 bits for 16 weights, four numbers of 16 bits for 16 rows of them; 32 bits are 1% of 3200.
    expect(3 + (3 + 3) / 16 + (4 * 16) / (16 * 16)).toBe(3.625)
    const plain = 3.625 * 64 * 128 + 32 * 65 + 16 * 128
    expect(bitsOfStored(stored(run({ outlierThreshold: none })))).toBe(plain)
    const edit = run()
    const outliers = outliersOf(edit).values.length
    expect(bitsOfStored(stored(edit))).toBe(plain + 32 * outliers)
    expect(edit.diagnostics.notes.at(-1)).toMatch(new RegExp(`^${outliers} outliers .* bits a weight$`))
    // Zeros that are codes of the weights need no scale of their own.
    const whole = bitsOfStored(stored(run({ outlierThreshold: none, roundZero: true })))
    expect(whole).toBe((3 + 6 / 16 + 32 / 256) * 64 * 128 + 32 * 65 + 16 * 128)
  })
  test.each<[string, SpqrOptions]>([
    ['outliers and an order', {}],
    ['no outliers', { outlierThreshold: none }],
    ['whole zeros, columns as they are', { roundZero: true, actOrder: false }],
  ])('9: products with packed tiles and sparse rows are those with the decoded matrix: %s', (_, options) => {
    const source = residentSource(stored(run(options)))
    expect(source.form).toBe('3 bits of two levels + sparse rows')
    const x = randomStream(9, 'x').normal([5, 128])
    const dense = decodeStored(stored(run(options))).cast('f64')
    const wanted = x.cast('f64').matmul(dense.transpose())
    const bound = x.abs().cast('f64').matmul(dense.abs().transpose())
    const over = source.matmul(x).cast('f64').sub(wanted).abs().sub(bound.mul(2e-6))
    expect(over.max().item()).toBeLessThanOrEqual(0)
  })
})

test('every kind of result decodes to the values that the method decided', () => {
  for (const options of [
    {},
    { roundZero: true },
    { secondOrder: false },
    { secondOrder: false, roundZero: true },
    { bits: 4, scaleBits: 5, zeroBits: 8, tileRows: 4, groupSize: 32 },
    { bits: 2, secondOrder: false, groupSize: 128, blockSize: 256 },
    { actOrder: false, simplifiedOutliers: true },
  ] satisfies SpqrOptions[])
    for (const current of [weight, weight.cast('f32')]) {
      const edit = run(options, current)
      expect(numbers(edit.source.dense())).toEqual(numbers(edit.decoded!))
    }
})

describe('awkward inputs', () => {
  const compress = (changed: object, options: SpqrOptions = {}) =>
    spqr(options).compress({
      ...{ name: 'block.0/q', dense: weight, current: weight, statistics: { gram, rows: 4000 } },
      ...changed,
    })
  test('groups and tiles that do not divide a layer are refused with a way out', () => {
    const narrow = weight.slice(1, 0, 40).contiguous()
    const few = gram.slice(0, 0, 40).slice(1, 0, 40).contiguous()
    const statistics = { gram: few, rows: 4000 }
    expect(() => compress({ current: narrow, statistics })).toThrow(/group size 16 divides, got 40/)
    expect(compress({ current: narrow, statistics }, { groupSize: 8 }).decoded!.shape).toEqual([64, 40])
    const low = weight.slice(0, 0, 24).contiguous()
    expect(() => compress({ current: low })).toThrow(/tile of 16 rows divides, got 24/)
    expect(compress({ current: low }, { tileRows: 8 }).decoded!.shape).toEqual([24, 128])
  })
  test('inputs that are always 0, too few tokens and a raised damping are named', () => {
    const lives = (i: number) => (i === 0 || i === 3 ? 0 : 1)
    const kept = Float64Array.from({ length: 128 * 128 }, (_, i) => lives(i % 128) * lives(i >> 7))
    const dead = gram.mul(tensor(kept, [128, 128], 'f64'))
    const { notes } = compress({ statistics: { gram: dead, rows: 50 } }).diagnostics
    expect(notes).toContain('2 inputs are always 0')
    expect(notes).toContain('only 50 tokens for 128 inputs')
    const zero = tensor(new Float64Array(128 * 128), [128, 128], 'f64')
    expect(numbers(compress({ statistics: { gram: zero, rows: 50 } }).decoded!).every((x) => x === 0)).toBe(
      true,
    )
  })
  test('a Gram matrix without a factor stops, or rounds where that is asked for', () => {
    const broken = tensor(
      Float64Array.from({ length: 128 * 128 }, (_, i) => (i % 129 === 0 ? 1 : 9)),
      [128, 128],
      'f64',
    )
    const statistics = { gram: broken, rows: 4000 }
    expect(() => compress({ statistics })).toThrow(NumericalError)
    const { decoded, diagnostics } = compress({ statistics }, { onSingular: 'round' })
    expect(diagnostics.notes[0]).toMatch(/rounded without its inputs/)
    expect(errorOf({ decoded: decoded! })).toBeLessThan(errorOf(nearest(layer, rowGrid(3))))
    const infinite = gram.mul(Number.POSITIVE_INFINITY)
    expect(() => compress({ statistics: { gram: infinite, rows: 1 } }, { onSingular: 'round' })).toThrow(
      /block.0\/q: .*not finite/,
    )
  })
  test('pruned weights and a missing Gram matrix are refused', () => {
    const mask = new Uint8Array(64 * 128).fill(1)
    expect(compress({ mask }).decoded!.shape).toEqual([64, 128])
    mask[9] = 0
    expect(() => compress({ mask })).toThrow(/cannot keep pruned ones at 0/)
    expect(() => compress({ statistics: { rows: 0 } })).toThrow(OptionError)
  })
  test.each<[string, SpqrOptions]>([
    ['bits', { bits: 1 }],
    ['bits', { bits: 2.5 }],
    ['group', { groupSize: 0 }],
    ['scales', { scaleBits: 9 }],
    ['zeros', { zeroBits: 0 }],
    ['tiles', { tileRows: 3 }],
    ['threshold', { outlierThreshold: -1 }],
    ['threshold', { outlierThreshold: Number.NaN }],
    ['damping', { damping: 0 }],
    ['block', { blockSize: 0 }],
  ])('%s that are impossible are refused before any weight is read', (what, options) => {
    expect(() => spqr(options)).toThrow(OptionError)
    expect(() => spqr(options)).toThrow(new RegExp(what))
  })
})
