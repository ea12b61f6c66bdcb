import { describe, expect, test } from 'vitest'
import { columnSweep } from '../nn/column_sweep.ts'
import { type AffineValues, affineGrid, type GridSource } from '../nn/grid.ts'
import { dampedHessian, sweepFactor, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { type Tensor, tensor } from '../tensor/index.ts'
import { gptq } from './gptq.ts'
import { codesOf, diagonal, nearest, numbers, run, valuesOf } from './gptq_layer.suite.ts'

describe('difficult inputs', () => {
  const { weight, gram } = syntheticLayer({ seed: 7, rows: 8, columns: 16 })
  const grid = affineGrid({ bits: 4, groupSize: 'row' })

  test('a singular Gram matrix goes up the ladder of dampings, and the notes say how far', () => {
    // Not positive definite until 0.05 of the mean diagonal is added: the 0.1 of the ladder is the first that works.
    const bent = diagonal(Array.from({ length: 16 }, (_, i) => (i === 0 ? -0.05 : 1)))
    const { diagnostics } = run({ weight, gram: bent }, grid)
    expect(diagnostics.damping).toBe(0.1)
    expect(diagnostics.notes).toEqual(['damping raised to 0.1'])
  })
  test('identical inputs need no more than the usual damping', () => {
    const ones = tensor(new Float64Array(256).fill(3), [16, 16], 'f64')
    const { diagnostics } = run({ weight, gram: ones }, grid)
    expect(diagnostics).toEqual({ damping: 0.01, notes: [] })
  })
  test('a Gram matrix without any factor stops by default and names the layer', () => {
    const hopeless = diagonal(Array.from({ length: 16 }, (_, i) => (i === 0 ? -30 : 2.9)))
    expect(() => run({ weight, gram: hopeless }, grid)).toThrow(NumericalError)
    expect(() => run({ weight, gram: hopeless }, grid)).toThrow(/^block\.0\/q: .*damping 1/)
  })
  test('inputs that are not finite stop it and name the layer', () => {
    const broken = diagonal(Array.from({ length: 16 }, (_, i) => (i === 3 ? Number.NaN : 1)))
    expect(() => run({ weight, gram: broken }, grid)).toThrow(/^block\.0\/q: .*not finite/)
  })
  test('onSingular round gives what rounding to nearest gives, and a note', () => {
    const hopeless = diagonal(Array.from({ length: 16 }, (_, i) => (i === 0 ? -30 : 2.9)))
    const edit = run({ weight, gram: hopeless }, grid, { onSingular: 'round' })
    expect(codesOf(edit)).toEqual(codesOf(nearest({ weight, gram }, grid)))
    expect(edit.diagnostics.notes).toEqual([expect.stringMatching(/rounded to nearest/)])
  })
  test('onSingular round still stops for inputs that are not finite', () => {
    const broken = diagonal(Array.from({ length: 16 }, (_, i) => (i === 3 ? Number.NaN : 1)))
    expect(() => run({ weight, gram: broken }, grid, { onSingular: 'round' })).toThrow(/not finite/)
  })
  test('weights of inputs that are always 0 become 0, and the notes count them', () => {
    const values = Float64Array.from(gram.toArray() as Float64Array)
    for (let i = 0; i < 16; i++) for (const dead of [2, 9]) values[i * 16 + dead] = values[dead * 16 + i] = 0
    const edit = run({ weight, gram: tensor(values, [16, 16], 'f64') }, grid)
    const decoded = numbers(edit.decoded!)
    for (let row = 0; row < 8; row++) expect([decoded[row * 16 + 2], decoded[row * 16 + 9]]).toEqual([0, 0])
    expect(edit.diagnostics.notes).toContain('2 inputs are always 0')
  })
  test('fewer tokens than inputs are noted', () => {
    const inputs = tensor(new Float64Array(5 * 16).fill(1), [5, 16], 'f64')
    expect(run({ weight, gram, inputs }, grid).diagnostics.notes).toEqual(['only 5 tokens for 16 inputs'])
  })
  test('a width that the groups do not divide leaves a shorter last group', () => {
    const edit = run({ weight, gram }, affineGrid({ bits: 3, groupSize: 6 }), { actOrder: true })
    expect(valuesOf(edit).scales.shape).toEqual([8, 3])
    expect([0, 1, 2].map((g) => valuesOf(edit).groupOf.filter((group) => group === g).length)).toEqual([
      6, 6, 4,
    ])
  })
  test('act-order is left out for Q3_K, and the notes say so; other block types take it with static groups', () => {
    const wide = syntheticLayer({ seed: 8, rows: 4, columns: 256, tokens: 600 })
    const layer = { weight: wide.weight.cast('f32'), gram: wide.gram }
    const blocks = (edit: ReturnType<typeof run>) =>
      numbers(((edit.source as GridSource).values as { bytes: Tensor }).bytes)
    const q3 = run(layer, { kind: 'blocks', type: 'Q3_K' }, { actOrder: true })
    expect(blocks(q3)).toEqual(blocks(run(layer, { kind: 'blocks', type: 'Q3_K' })))
    expect(q3.diagnostics.notes).toEqual([expect.stringMatching(/act-order is left out for Q3_K/)])
    const q4 = run(layer, { kind: 'blocks', type: 'Q4_K' }, { actOrder: true })
    expect(blocks(q4)).not.toEqual(blocks(run(layer, { kind: 'blocks', type: 'Q4_K' })))
    expect(q4.diagnostics.notes).toEqual([])
  })
  test('options that cannot be are refused when the method is made', () => {
    for (const options of [{ damping: 0 }, { damping: Number.NaN }, { blockSize: 0 }, { blockSize: 1.5 }])
      expect(() => gptq(options)).toThrow(OptionError)
  })
  test('a task without a Gram matrix is refused by name', () => {
    const task = { name: 'block.0/q', dense: weight, current: weight, statistics: { rows: 0 }, grid }
    expect(() => gptq().compress(task)).toThrow(/^block\.0\/q: .*Gram matrix/)
  })
  test('the dense weight and the Gram matrix are left as they were', () => {
    const before = [numbers(weight), numbers(gram)]
    run({ weight, gram }, grid, { actOrder: true })
    expect([numbers(weight), numbers(gram)]).toEqual(before)
  })
  test('the sweep of the current weight is rounded, not that of the source', () => {
    const current = weight.mul(0.5)
    const edit = gptq().compress({ name: 'x', dense: weight, current, statistics: { gram, rows: 99 }, grid })
    expect(codesOf(edit)).toEqual(
      numbers(
        (
          columnSweep(current, { grid, factor: sweepFactor(dampedHessian(gram, 0.01)) })
            .values as AffineValues
        ).codes,
      ),
    )
  })
})
