import { describe, expect, test } from 'vitest'
import type { LayerEdit } from '../calibrate/method.ts'
import { affineGrid } from '../nn/grid.ts'
import { levelSweep } from '../nn/level_sweep.ts'
import { dampedHessian, outputError, sweepFactor, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { codesInWord, packLevels, unpackLevels } from '../nn/values/column_levels.ts'
import { bitsOfStored, type StoredSource, type StoredValues } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { type Tensor, tensor } from '../tensor/index.ts'
import { type BaqOptions, baq } from './baq.ts'
import { codesOf, run as gptqRun, numbers, rowGrid } from './gptq_layer.suite.ts'

type Levels = StoredValues & { kind: 'column_levels' }
const draws = [1, 2, 3, 4].map((seed) => syntheticLayer({ seed, rows: 48, columns: 96, tokens: 4000 }))
type Draw = (typeof draws)[number]
const run = ({ weight, gram }: Draw, options: BaqOptions = {}): LayerEdit =>
  baq(options).compress({
    ...{ name: 'block.0/q', dense: weight, current: weight },
    statistics: { gram, rows: 4000 },
  })
const stored = (edit: LayerEdit) => (edit.source as StoredSource).values as Levels
const levelsOf = (edit: LayerEdit) => stored(edit).levels.toArray() as Uint16Array
const mean = (values: Iterable<number>) => {
  const all = Array.from(values)
  return all.reduce((a, b) => a + b, 0) / all.length
}
const errorOf = ({ weight, gram }: Draw, edit: LayerEdit) => outputError(weight, edit.decoded!, gram)
/** Losses of the columns on some levels. */
const lossesOf = ({ weight, gram }: Draw, levels: Uint16Array) =>
  levelSweep(weight, { levels, centred: false, factor: sweepFactor(dampedHessian(gram, 0.01)) })
const uniform = (count: number) => new Uint16Array(96).fill(count)
const spread = (losses: Float64Array) => {
  const average = mean(losses)
  return Math.sqrt(mean(losses.map((loss) => (loss - average) ** 2))) / average
}

describe('what a correct implementation must show', () => {
  test('2: with the same levels in every column, codes are those of GPTQ with blocks of one column', () => {
    for (const bits of [2, 3, 4] as const) {
      const [draw] = draws
      // Halves, so that rounding the ranges changes nothing.
      const weight = draw!.weight.cast('f16').cast('f64')
      const { values, dense } = lossesOf({ ...draw!, weight }, uniform(2 ** bits))
      const expected = gptqRun({ ...draw!, weight }, rowGrid(bits), { blockSize: 1 })
      expect(numbers(unpackLevels(values.words, values.levels, 48))).toEqual(codesOf(expected))
      // Steps times levels are rounded to f32, as a reader computes them.
      expect(numbers(dense)).toEqual(numbers(expected.decoded!).map(Math.fround))
    }
  })
  test('4: the rate is met within 0.05 bits, and whole bits would take more', () => {
    for (const draw of draws)
      for (const bits of [2, 3, 4]) {
        const rates = Array.from(levelsOf(run(draw, { bits })), Math.log2)
        expect(Math.abs(mean(rates) - bits)).toBeLessThan(0.05)
        const more = mean(rates.map(Math.ceil)) - mean(rates)
        expect(more).toBeGreaterThan(0.25)
        expect(more).toBeLessThan(0.5)
      }
  })
  test('5: the loss falls to about two thirds, as much as the closed form says, and columns come closer', () => {
    const ratios = [2, 3, 4].flatMap((bits) =>
      draws.map((draw) => {
        const before = lossesOf(draw, uniform(2 ** bits)).losses
        const after = lossesOf(draw, levelsOf(run(draw, { bits }))).losses
        const geometric = Math.exp(mean(before.map(Math.log)))
        expect(spread(before)).toBeGreaterThan(0.9)
        expect(spread(after)).toBeLessThan(0.4)
        const ratio = mean(after) / mean(before)
        expect(Math.abs(ratio / (geometric / mean(before)) - 1)).toBeLessThan(0.1)
        return ratio
      }),
    )
    expect(mean(ratios)).toBeGreaterThan(0.63)
    expect(mean(ratios)).toBeLessThan(0.67)
  })
  test('6: levels from theory and from measured losses give errors within a twentieth of each other', () => {
    const errors = (losses: 'theory' | 'measured') =>
      mean(draws.map((draw) => errorOf(draw, run(draw, { losses }))))
    expect(Math.abs(errors('theory') / errors('measured') - 1)).toBeLessThan(0.05)
  })
  test('7: the losses of the columns add up to half the damped error of the layer', () => {
    for (const draw of draws.slice(0, 2)) {
      const { dense, losses } = lossesOf(draw, levelsOf(run(draw)))
      const hessian = tensor(dampedHessian(draw.gram, 0.01), [96, 96], 'f64')
      const error = outputError(draw.weight, dense, hessian) / 2
      expect(Math.abs((mean(losses) * 96) / error - 1)).toBeLessThan(1e-6)
    }
  })
  test('8: codes of 1 to 256 levels come back from words that hold as many as fit', () => {
    const counts = [1, 2, 3, 5, 6, 7, 9, 14, 27, 55, 256]
    const rows = 131
    const codes = counts.flatMap((count) =>
      Array.from({ length: rows }, (_, row) => (row * 7919 + count - 1) % count),
    )
    const levels = tensor(counts, [counts.length], 'u16')
    const words = packLevels(tensor(codes, [counts.length, rows], 'u16'), levels)
    expect(words.size).toBe(counts.reduce((sum, count) => sum + Math.ceil(rows / codesInWord(count)), 0))
    expect(counts.map(codesInWord)).toEqual([Number.POSITIVE_INFINITY, 64, 40, 27, 24, 22, 20, 16, 13, 11, 8])
    expect(numbers(unpackLevels(words, levels, rows).transpose())).toEqual(codes)
  })
  test('9: whole bits meet the rate exactly, and lose more than fractions and less than one rate', () => {
    const ratios = [2, 3].flatMap((bits) =>
      draws.map((draw) => {
        const whole = run(draw, { bits, integerBits: true })
        expect(mean(Array.from(levelsOf(whole), Math.log2))).toBe(bits)
        const one = mean(lossesOf(draw, uniform(2 ** bits)).losses)
        const loss = (edit: LayerEdit) => mean(lossesOf(draw, levelsOf(edit)).losses) / one
        return { whole: loss(whole), fractions: loss(run(draw, { bits })) }
      }),
    )
    const [whole, fractions] = [mean(ratios.map((r) => r.whole)), mean(ratios.map((r) => r.fractions))]
    expect(whole).toBeLessThan(0.9)
    expect(fractions).toBeLessThan(whole)
    for (const ratio of ratios) expect(ratio.whole).toBeLessThan(1)
  })
})

test('stored bits are words, levels and ranges, and the notes name the three rates', () => {
  const [draw] = draws
  const edit = run(draw!, { bits: 2 })
  const counts = levelsOf(edit)
  const words = counts.reduce((sum, count) => sum + Math.ceil(48 / codesInWord(count)), 0)
  expect(bitsOfStored(stored(edit))).toBe(64 * words + 16 * 96 + 32 * 48)
  const [rates] = edit.diagnostics.notes
  const expected = [mean(Array.from(counts, Math.log2)), (64 * words) / (48 * 96)]
  const found = rates!.match(/[\d.]+/g)!.map(Number)
  expect(found[0]).toBeCloseTo(expected[0]!, 2)
  expect(found[1]).toBeCloseTo(expected[1]!, 2)
  expect(found[2]).toBeCloseTo(mean(Array.from(counts, (n) => Math.ceil(Math.log2(n)))), 2)
  expect(edit.diagnostics.notes.join()).toMatch(/of that at one rate, 0\.\d+ expected/)
})
test('what is stored decodes to the values that the method decided, for fractions of bits too', () => {
  const [draw] = draws
  for (const options of [
    { bits: 2.5 },
    { bits: 1, centred: true },
    { bits: 1 },
    { bits: 8, actOrder: true },
    { integerBits: true, losses: 'theory' },
  ] satisfies BaqOptions[])
    for (const weight of [draw!.weight, draw!.weight.cast('f32')]) {
      const edit = run({ ...draw!, weight }, options)
      expect(numbers(edit.source.dense())).toEqual(numbers(edit.decoded!))
    }
})
test('two levels around the middle lose less than 0 and one end at one bit a weight', () => {
  const error = (centred: boolean) =>
    mean(draws.map((draw) => errorOf(draw, run(draw, { bits: 1, centred }))))
  expect(error(true)).toBeLessThan(0.8 * error(false))
})
test('it loses less than GPTQ on one grid a row at the same rate', () => {
  for (const draw of draws) {
    const grid = affineGrid({ bits: 3, groupSize: 'row' })
    expect(errorOf(draw, run(draw))).toBeLessThan(0.9 * errorOf(draw, gptqRun(draw, grid)))
  }
})

describe('awkward inputs', () => {
  const [{ weight, gram }] = draws as [Draw]
  const compress = (changed: object, options: BaqOptions = {}) =>
    baq(options).compress({
      ...{ name: 'block.0/q', dense: weight, current: weight, statistics: { gram, rows: 4000 } },
      ...changed,
    })
  const masked = (x: Tensor, lives: (i: number) => boolean) => {
    const [rows, columns] = x.shape as [number, number]
    const kept = Float64Array.from({ length: rows * columns }, (_, i) =>
      lives(i % columns) && (rows !== columns || lives(Math.floor(i / columns))) ? 1 : 0,
    )
    return x.mul(tensor(kept, [rows, columns], 'f64'))
  }
  test('inputs that are always 0 get no bits, and do not take any from others', () => {
    const edit = compress({ statistics: { gram: masked(gram, (i) => i % 3 > 0), rows: 50 } })
    const rates = Array.from(levelsOf(edit), Math.log2)
    expect(rates.filter((_, i) => i % 3 === 0).every((rate) => rate === 0)).toBe(true)
    expect(Math.abs(mean(rates.filter((_, i) => i % 3 > 0)) - 3)).toBeLessThan(0.05)
    expect(edit.diagnostics.notes).toContain('32 inputs are always 0')
    expect(edit.diagnostics.notes).toContain('only 50 tokens for 96 inputs')
    const zero = tensor(new Float64Array(96 * 96), [96, 96], 'f64')
    const all = compress({ statistics: { gram: zero, rows: 50 } })
    expect(stored(all).words.size).toBe(0)
    expect(numbers(all.source.dense()).every((x) => x === 0)).toBe(true)
  })
  test('rows of zeros stay 0, and rows of one value keep it', () => {
    const values = Float64Array.from(numbers(weight), (w, i) => (i < 96 ? 0 : i < 192 ? 0.5 : w))
    const diagonal = masked(gram, () => true).mul(
      tensor(
        Float64Array.from({ length: 96 * 96 }, (_, i) => Number(i % 97 === 0)),
        [96, 96],
        'f64',
      ),
    )
    const { decoded } = compress({
      current: tensor(values, [48, 96], 'f64'),
      statistics: { gram: diagonal, rows: 4000 },
    })
    const found = numbers(decoded!)
    expect(found.slice(0, 96).every((x) => x === 0)).toBe(true)
    expect(Math.max(...found.slice(96, 192).map((x) => Math.abs(x - 0.5)))).toBeLessThan(1e-6)
  })
  test('a Gram matrix without a factor stops, or rounds to nearest where that is asked for', () => {
    const broken = Float64Array.from({ length: 96 * 96 }, (_, i) => (i % 97 === 0 ? 1 : 9))
    const statistics = { gram: tensor(broken, [96, 96], 'f64'), rows: 4000 }
    expect(() => compress({ statistics })).toThrow(NumericalError)
    for (const losses of ['measured', 'theory'] as const) {
      const { diagnostics } = compress({ statistics }, { onSingular: 'round', losses })
      expect(diagnostics.notes[0]).toMatch(/rounded without its inputs/)
    }
    const infinite = { gram: gram.mul(Number.NaN), rows: 1 }
    expect(() => compress({ statistics: infinite }, { onSingular: 'round' })).toThrow(/not finite/)
  })
  test('weights that f16 does not hold are refused', () => {
    expect(() => compress({ current: weight.mul(1e7) })).toThrow(NumericalError)
  })
  test('pruned weights and a missing Gram matrix are refused', () => {
    expect(() => compress({ mask: new Uint8Array(48 * 96) })).toThrow(/cannot keep pruned ones at 0/)
    expect(() => compress({ statistics: { rows: 0 } })).toThrow(OptionError)
  })
  test.each<[string, BaqOptions]>([
    ['bits', { bits: 0.9 }],
    ['bits', { bits: Number.NaN }],
    ['losses', { losses: 'guessed' as never }],
    ['exponent', { exponent: 0 }],
    ['damping', { damping: -1 }],
  ])('%s that are impossible are refused before any weight is read', (what, options) => {
    expect(() => baq(options)).toThrow(OptionError)
    expect(() => baq(options)).toThrow(new RegExp(what))
  })
})
