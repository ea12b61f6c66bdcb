/** What holds for SparseGPT, Wanda, magnitude and the quantisers of pruned weights alike. */
import { describe, expect, test } from 'vitest'
import type { LayerMethod, LayerTask } from '../calibrate/method.ts'
import { describeStored } from '../models/stored/pare_tensors.ts'
import { readStored } from '../models/stored/read_stored.ts'
import { archiveOf } from '../models/stored/stored_archive.suite.ts'
import { affineGrid } from '../nn/grid.ts'
import { syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { bitsOfStored, decodeStored } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { type Tensor, tensor } from '../tensor/index.ts'
import { setThreads, threads } from '../tensor/native.ts'
import { exactObs } from './exact_obs.ts'
import { columnBlocks } from './obs_pattern.ts'
import { numbers, taskOf, valuesOf, zerosIn } from './one_shot_layer.suite.ts'
import { oneShotMagnitude } from './one_shot_magnitude.ts'
import { sparsegpt } from './sparsegpt.ts'
import { wanda } from './wanda.ts'

const { weight, gram } = syntheticLayer({ seed: 9, rows: 50, columns: 72, tokens: 500 })
const layer = { weight: weight.cast('f32'), gram }
const twoOfFour = { kind: 'n:m', n: 2, m: 4 } as const
const grid = affineGrid({ bits: 4, groupSize: 20 })
const cases: [string, LayerMethod, Partial<LayerTask>][] = [
  ['magnitude', oneShotMagnitude(), {}],
  ['wanda', wanda({ variant: true }), {}],
  ['wanda, 2:4, bf16', wanda({ pattern: twoOfFour, numbers: 'bf16' }), {}],
  ['sparsegpt', sparsegpt({ sparsity: 0.6, blockSize: 32 }), {}],
  ['sparsegpt in f32', sparsegpt({ numbers: 'f32' }), {}],
  ['obs', exactObs({ sparsity: 0.6 }), {}],
  ['obs, 2:4, bf16', exactObs({ pattern: twoOfFour, numbers: 'bf16' }), {}],
  [
    'obs, blocks, rows alike, f32',
    exactObs({ pattern: columnBlocks(), selection: 'row', numbers: 'f32' }),
    {},
  ],
  ['sparsegpt with a grid', sparsegpt(), { grid }],
  ['sparsegpt, 2:4, symmetric', sparsegpt({ pattern: twoOfFour }), { grid: { ...grid, symmetric: true } }],
]

describe.each(cases)('%s', (_, method, extra) => {
  const task = taskOf(layer, extra)
  const edit = method.compress(task)
  test('the input is unchanged, and any number of threads gives the same bytes', () => {
    const before = [numbers(layer.weight), numbers(gram), [...task.statistics.squares!]]
    const count = threads()
    for (const used of [1, 3]) {
      setThreads(used)
      const again = method.compress(task)
      expect(again.decoded!.bytes()).toEqual(edit.decoded!.bytes())
      expect(again.mask).toEqual(edit.mask)
    }
    setThreads(count)
    expect([numbers(layer.weight), numbers(gram), [...task.statistics.squares!]]).toEqual(before)
  })
  test('what is decoded is the source, of the shape of the weight, 0 where the mask is', () => {
    expect(edit.source.dense().bytes()).toEqual(edit.decoded!.bytes())
    expect([edit.source.shape, edit.decoded!.dtype]).toEqual([[50, 72], 'f32'])
    expect(numbers(edit.decoded!).filter((w, i) => w !== 0 && !edit.mask![i])).toEqual([])
  })
  test('the bits are those of marks, living weights and steps', () => {
    const living = 50 * 72 - zerosIn(edit.mask!)
    const values = valuesOf(edit)
    const expected =
      values.kind === 'bitmask'
        ? 50 * 72 + living * (values.kept.dtype === 'f32' ? 32 : 16)
        : 50 * 72 +
          living * 4 +
          50 * 4 * (extra.grid && 'symmetric' in extra.grid && extra.grid.symmetric ? 16 : 20) +
          51 * 32
    expect(bitsOfStored(values)).toBe(expected)
    expect(edit.source.size().storedBits).toBe(expected)
  })
  test('saved and loaded it is the same, whole and by rows', () => {
    const values = valuesOf(edit)
    const archive = archiveOf(values)
    const read = (start: number, end: number) =>
      decodeStored(readStored(archive, 'w', describeStored(values), start, end)).bytes()
    const whole = edit.decoded!.bytes()
    expect(read(0, 50)).toEqual(whole)
    expect(read(17, 40)).toEqual(whole.slice(17 * 72 * 4, 40 * 72 * 4))
  })
})

describe('awkward inputs of SparseGPT', () => {
  const diagonal = (of: (i: number) => number) =>
    tensor(
      Float64Array.from({ length: 72 * 72 }, (_, i) => (i % 73 === 0 ? of(i % 72) : 0)),
      [72, 72],
      'f64',
    )
  const run = (own: Tensor, options = {}, extra: Partial<LayerTask> = {}) =>
    sparsegpt(options).compress({ ...taskOf(layer), statistics: { gram: own, rows: 4096 }, ...extra })
  test('a Gram matrix without a factor stops and names the layer, or is pruned by magnitude where that is asked for', () => {
    const hopeless = diagonal((i) => (i === 0 ? -30 : 1))
    expect(() => run(hopeless)).toThrow(NumericalError)
    expect(() => run(hopeless)).toThrow(/^block\.0\/q: .*damping 1/)
    const edit = run(hopeless, { onSingular: 'magnitude' })
    expect(edit.mask).toEqual(oneShotMagnitude().compress(taskOf(layer)).mask)
    expect(edit.diagnostics.notes).toEqual([expect.stringMatching(/by magnitude/)])
    expect(valuesOf(run(hopeless, { onSingular: 'magnitude' }, { grid })).kind).toBe('masked_grid')
  })
  test('inputs that are not finite stop it, whatever is asked for', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(() =>
        run(
          diagonal((i) => (i === 3 ? bad : 1)),
          { onSingular: 'magnitude' },
        ),
      ).toThrow(/^block\.0\/q: .*not finite/)
  })
  test('a damping that was raised, few tokens and dead inputs are noted, and the weights of these are 0', () => {
    const bent = run(diagonal((i) => (i === 0 ? -0.05 : 1)))
    expect([bent.diagnostics.damping, bent.diagnostics.notes]).toEqual([0.1, ['damping raised to 0.1']])
    const dead = run(
      diagonal((i) => (i < 2 ? 0 : 1)),
      {},
      { statistics: { gram: diagonal((i) => (i < 2 ? 0 : 1)), rows: 9 } },
    )
    expect(dead.diagnostics.notes).toEqual(['2 inputs are always 0', 'only 9 tokens for 72 inputs'])
    const decoded = numbers(dead.decoded!)
    expect(decoded.filter((w, i) => i % 72 < 2 && w !== 0)).toEqual([])
  })
  test('a layer whose inputs are all 0 becomes 0', () => {
    const edit = run(diagonal(() => 0))
    expect(numbers(edit.decoded!).every((w) => w === 0)).toBe(true)
    expect(edit.diagnostics.notes).toEqual(['72 inputs are always 0'])
  })
  test('rows of one number and rows of zeros are pruned like others', () => {
    for (const value of [0, 0.25]) {
      const flat = tensor(new Float32Array(50 * 72).fill(value), [50, 72])
      for (const own of [undefined, grid]) {
        const edit = sparsegpt().compress(taskOf({ weight: flat, gram }, { grid: own }))
        expect(zerosIn(edit.mask!)).toBe(1800)
        expect(edit.source.dense().bytes()).toEqual(edit.decoded!.bytes())
      }
    }
  })
  test('a width that no group divides, and a grid without a place for a mask, are refused', () => {
    const odd = { pattern: { kind: 'n:m', n: 2, m: 5 } as const, blockSize: 100 }
    expect(() => run(gram, odd)).toThrow(/^block\.0\/q: 2:5 needs inputs divisible by 5, got 72/)
    expect(() => wanda({ pattern: odd.pattern }).compress(taskOf(layer))).toThrow(OptionError)
    expect(() => run(gram, {}, { grid: { kind: 'blocks', type: 'Q4_0' } })).toThrow(/evenly spaced/)
    expect(() => sparsegpt().compress({ ...taskOf(layer), statistics: { rows: 0 } })).toThrow(/Gram matrix/)
  })
  test('corrected weights past the range of f16 are refused, and bf16 holds them', () => {
    const large = { weight: layer.weight.mul(1e6), gram }
    expect(() => sparsegpt().compress(taskOf(large))).toThrow(/^block\.0\/q: .*past the range/)
    expect(zerosIn(sparsegpt({ numbers: 'bf16' }).compress(taskOf(large)).mask!)).toBe(1800)
  })
  test('options that cannot be are refused when the method is made', () => {
    for (const options of [
      { damping: 0 },
      { damping: Number.NaN },
      { blockSize: 0 },
      { lazyBlock: 1.5 },
      { blockSize: 30, pattern: twoOfFour },
      { inclusive: true, pattern: twoOfFour },
      { inclusive: true, sparsity: 1 },
      { sparsity: 2 },
    ])
      expect(() => sparsegpt(options), JSON.stringify(options)).toThrow(OptionError)
  })
})
