import { describe, expect, test } from 'vitest'
import type { LayerTask } from '../calibrate/method.ts'
import { type SyntheticLayer, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { matmul, randomStream, type Tensor, tensor } from '../tensor/index.ts'
import { type ExactObsOptions, exactObs } from './exact_obs.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const taskOf = ({ weight, gram, inputs }: SyntheticLayer, more: Partial<LayerTask> = {}): LayerTask => ({
  name: 'block.0/q',
  dense: weight,
  current: weight,
  statistics: { gram, rows: inputs.extent(0) },
  ...more,
})
const run = (layer: SyntheticLayer, options: ExactObsOptions, more: Partial<LayerTask> = {}) =>
  exactObs({ numbers: 'f32', ...options }).compress(taskOf(layer, more))

describe('difficult inputs', () => {
  const layer = syntheticLayer({ seed: 4, rows: 12, columns: 24, tokens: 500 })
  const notes = (edit: ReturnType<typeof run>) => edit.diagnostics.notes.join('; ')

  test('fewer tokens than inputs take a damping of 0.01, and say so', () => {
    const inputs = layer.inputs.slice(0, 0, 10)
    const edit = run({ ...layer, inputs, gram: matmul(inputs.transpose(), inputs) }, {})
    expect(edit.diagnostics.damping).toBe(0.01)
    expect(notes(edit)).toMatch(/only 10 tokens for 24 inputs/)
    expect(numbers(edit.decoded!).every(Number.isFinite)).toBe(true)
  })
  test('a singular Hessian goes up the ladder', () => {
    // Inputs 2k and 2k + 1 are equal.
    const inputs = layer.inputs.slice(1, 0, 12).unsqueeze(2).expand([500, 12, 2]).reshape([500, 24])
    const edit = run({ ...layer, inputs, gram: matmul(inputs.transpose(), inputs) }, {})
    expect(edit.diagnostics.damping).toBe(0.01)
    expect(notes(edit)).toMatch(/damping raised to 0\.01/)
    expect(numbers(edit.decoded!).every(Number.isFinite)).toBe(true)
  })
  test('inputs that are always 0 lose their weights first; no inputs at all lose everything', () => {
    const alive = tensor(
      Float64Array.from({ length: 24 }, (_, i) => Number(i >= 3)),
      [24],
      'f64',
    )
    const inputs = layer.inputs.mul(alive)
    const edit = run({ ...layer, inputs, gram: matmul(inputs.transpose(), inputs) }, { sparsity: 0.125 })
    expect(notes(edit)).toMatch(/3 inputs are always 0/)
    expect([...edit.mask!].map((bit, i) => bit === Number(i % 24 >= 3))).not.toContain(false)
    const dead = run({ ...layer, gram: layer.gram.mul(0) }, {})
    expect(numbers(dead.decoded!).every((x) => x === 0)).toBe(true)
  })
  test('rows that are constant, and rows of zeros, are pruned as others', () => {
    const weight = tensor(
      Float64Array.from({ length: 288 }, (_, i) => (i < 24 ? 0.5 : 0)),
      [12, 24],
      'f64',
    )
    const { decoded, mask } = run({ ...layer, weight }, { sparsity: 0.95 })
    expect(mask!.subarray(24).every((bit) => bit === 0)).toBe(true)
    expect(
      numbers(decoded!)
        .slice(0, 24)
        .some((x) => x !== 0),
    ).toBe(true)
  })
  test.each([Number.NaN, Number.POSITIVE_INFINITY])(
    '%f among the inputs or weights stops with a NumericalError',
    (bad) => {
      const hole = (x: Tensor, at: number) =>
        tensor(
          Float64Array.from(numbers(x), (v, i) => (i === at ? bad : v)),
          x.shape,
          'f64',
        )
      for (const at of [0, 5])
        expect(() => run({ ...layer, gram: hole(layer.gram, at) }, {})).toThrow(NumericalError)
      expect(() => run({ ...layer, weight: hole(layer.weight, 7) }, {})).toThrow(NumericalError)
    },
  )
  test('a Hessian that no damping mends stops with PARE_E_SINGULAR', () => {
    expect(() => run({ ...layer, gram: layer.gram.mul(1).sub(layer.gram.mul(30)) }, {})).toThrow(
      NumericalError,
    )
    const far = randomStream(0, 'far').normal([24, 24], 'f64')
    const gram = far.add(far.transpose()).mul(100)
    const diagonal = tensor(
      Float64Array.from({ length: 576 }, (_, i) => (i % 25 === 0 ? 1 : 0)),
      [24, 24],
      'f64',
    )
    const off = gram.mul(diagonal.mul(-1).add(1)).add(diagonal)
    expect(() => run({ ...layer, gram: off }, {})).toThrow(
      expect.objectContaining({ code: 'PARE_E_SINGULAR' }),
    )
  })
})

describe('refusals', () => {
  const layer = syntheticLayer({ rows: 4, columns: 6, tokens: 50 })
  test('impossible options, before any weight is read', () => {
    const wrong: ExactObsOptions[] = [
      { sparsity: -0.1 },
      { sparsity: 1.1 },
      { sparsity: Number.NaN },
      { damping: -1 },
      { damping: Number.NaN },
      { selection: 'best' as 'heap' },
      { numbers: 'f8' as 'f16' },
      { sparsity: 0.7, pattern: { kind: 'n:m', n: 2, m: 4 } },
      { pattern: { kind: 'channel' } },
      { pattern: { kind: 'n:m', n: 3, m: 2 } },
      { pattern: { kind: 'n:m', n: 1, m: 2, axis: 0 } },
      { pattern: { kind: 'block', shape: [2, 4] } },
      { pattern: { kind: 'block', shape: [1, 65] } },
    ]
    for (const options of wrong) expect(() => exactObs(options), JSON.stringify(options)).toThrow(OptionError)
  })
  test('a width that m does not divide names the weight, the need, what was found and a way out', () => {
    expect(() => run(layer, { pattern: { kind: 'n:m', n: 2, m: 4 } })).toThrow(
      /block\.0\/q: 2:4 needs inputs divisible by 4, got 6; leave the weight out or change m/,
    )
  })
  test('a task without a Gram matrix, or with one or a mask of another layer', () => {
    expect(() => run(layer, {}, { statistics: { rows: 9 } })).toThrow(OptionError)
    expect(() => run(layer, {}, { statistics: { rows: 9, gram: layer.weight } })).toThrow(
      /Gram matrix \[6, 6\], got \[4,6\]/,
    )
    expect(() => run(layer, {}, { mask: new Uint8Array(5) })).toThrow(/mask of 24 entries, got 5/)
  })
})
