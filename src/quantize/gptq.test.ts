import { describe, expect, test } from 'vitest'
import { dequantizeGptq, packAcross, packDown, storedZeros } from '../formats/gptq_packing.ts'
import { oracleSweep } from '../nn/column_sweep.oracle.suite.ts'
import { columnSweep } from '../nn/column_sweep.ts'
import {
  type AffineGrid,
  type AffineValues,
  affineGrid,
  decodeValues,
  type Grid,
  type GridSource,
} from '../nn/grid.ts'
import {
  dampedHessian,
  outputError,
  type SyntheticLayer,
  sweepFactor,
  syntheticLayer,
} from '../nn/synthetic_layer.suite.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { cholesky, choleskyInverse, matmul, type Tensor, tensor } from '../tensor/index.ts'
import { type GptqOptions, gptq } from './gptq.ts'
import { rtn } from './rtn.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const diagonal = (values: readonly number[]) =>
  tensor(
    Float64Array.from({ length: values.length ** 2 }, (_, i) =>
      i % (values.length + 1) === 0 ? values[i % values.length]! : 0,
    ),
    [values.length, values.length],
    'f64',
  )

type Layer = Pick<SyntheticLayer, 'weight' | 'gram'> & { inputs?: Tensor }

function run({ weight, gram, inputs }: Layer, grid: Grid, options: GptqOptions = {}) {
  const rows = inputs?.extent(0) ?? 10_000
  return gptq(options).compress({
    name: 'block.0/q',
    dense: weight,
    current: weight,
    statistics: { gram, rows },
    grid,
  })
}
const nearest = ({ weight }: Layer, grid: Grid) =>
  rtn().compress({ name: 'block.0/q', dense: weight, current: weight, statistics: { rows: 0 }, grid })
const valuesOf = (edit: ReturnType<typeof run>) => (edit.source as GridSource).values as AffineValues
const codesOf = (edit: ReturnType<typeof run>) => numbers(valuesOf(edit).codes)
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length

/** One f32 scale a row: the setting of the reference. */
const rowGrid = (bits: AffineGrid['bits']) => affineGrid({ bits, groupSize: 'row', scaleType: 'f32' })
const seeds = [1, 2, 3, 4, 5, 6]

/** Mean over random layers of the output error, over that of rounding to nearest. */
function ratio(
  grid: Grid,
  options: GptqOptions,
  { held, ...size }: { held?: number; rows?: number; tokens?: number } = {},
): number {
  return mean(
    seeds.map((seed) => {
      const whole = syntheticLayer({ seed, ...size, tokens: (size.tokens ?? 2000) + (held ?? 0) })
      const inputs = whole.inputs.slice(0, 0, size.tokens ?? 2000)
      const seen = { weight: whole.weight, inputs, gram: matmul(inputs.transpose(), inputs) }
      const scored = held ? whole.inputs.slice(0, size.tokens!, size.tokens! + held) : inputs
      const gram = matmul(scored.transpose(), scored)
      const error = (edit: ReturnType<typeof run>) => outputError(whole.weight, edit.decoded!, gram)
      return error(run(seen, grid, options)) / error(nearest(seen, grid))
    }),
  )
}

describe('results', () => {
  const layer = syntheticLayer({ seed: 1 })

  test.each([2, 3, 4] as const)(
    'blocks of 1, 4, 32, 64 and 128 columns give the same codes at %i bits',
    (bits) => {
      const [first, ...others] = [1, 4, 32, 64, 128].map((blockSize) =>
        codesOf(run(layer, affineGrid({ bits }), { blockSize })),
      )
      for (const codes of others) expect(codes).toEqual(first)
    },
  )
  test('codes are those of plain loops over the inverse of the damped Hessian', () => {
    for (const groupSize of ['row', 16] as const) {
      const grid = affineGrid({ bits: 3, groupSize })
      const expected = oracleSweep(layer.weight.toArray() as Float64Array, 64, {
        grid,
        factor: sweepFactor(dampedHessian(layer.gram, 0.01)).toArray() as Float64Array,
      })
      expect(codesOf(run(layer, grid))).toEqual([...expected.codes])
    }
  })
  test('act-order sweeps the inputs with the most energy first, and groups follow it unless they are static', () => {
    const gram = layer.gram.toArray() as Float64Array
    const order = Uint32Array.from({ length: 64 }, (_, i) => i).sort((a, b) => gram[b * 65]! - gram[a * 65]!)
    const factor = sweepFactor(dampedHessian(layer.gram, 0.01), order).toArray() as Float64Array
    for (const staticGroups of [false, true]) {
      const grid = affineGrid({ bits: 3, groupSize: 16 })
      const expected = oracleSweep(layer.weight.toArray() as Float64Array, 64, {
        grid,
        factor,
        order,
        staticGroups,
      })
      const edit = run(layer, grid, { actOrder: true, staticGroups })
      expect(codesOf(edit)).toEqual([...expected.codes])
      const groupOf = [...valuesOf(edit).groupOf]
      const neighbours = groupOf.map((_, column) => Math.floor(column / 16))
      if (staticGroups) expect(groupOf).toEqual(neighbours)
      else expect([...order].map((column) => groupOf[column])).toEqual(neighbours)
    }
  })
  test('optimal brain quantisation row by row, with downdates of the whole inverse, gives the same codes', () => {
    const small = syntheticLayer({ seed: 2, rows: 8, columns: 32 })
    const grid = rowGrid(3)
    const edit = run(small, grid)
    const { scales, zeros, codes } = valuesOf(edit)
    const inverse = choleskyInverse(
      cholesky(tensor(dampedHessian(small.gram, 0.01), [32, 32], 'f64')),
    ).toArray() as Float64Array
    for (let row = 0; row < 8; row++) {
      const weight = (small.weight.toArray() as Float64Array).slice(row * 32, row * 32 + 32)
      const own = Float64Array.from(inverse)
      const [scale, zero] = [Number(scales.toArray()[row]), Number(zeros.toArray()[row])]
      const found = Array.from(weight, (_, q) => {
        const code = Math.min(7, Math.max(0, Math.round(weight[q]! / scale) + zero))
        const error = (weight[q]! - scale * (code - zero)) / own[q * 33]!
        for (let j = 0; j < 32; j++) weight[j]! -= error * own[q * 32 + j]!
        const column = Array.from({ length: 32 }, (_, i) => own[i * 32 + q]!)
        const pivot = column[q]!
        for (let i = 0; i < 32; i++)
          for (let j = 0; j < 32; j++) own[i * 32 + j]! -= (column[i]! * column[j]!) / pivot
        return code
      })
      expect(numbers(codes).slice(row * 32, row * 32 + 32)).toEqual(found)
    }
  })
  test('feedback rounding with the unit factor of H, last column first, gives the same codes', () => {
    const grid = rowGrid(3)
    const edit = run(layer, grid)
    const { scales, zeros, codes } = valuesOf(edit)
    const hessian = dampedHessian(layer.gram, 0.01)
    // Of the flipped problem: J H J = L D L^T with ones on the diagonal of L.
    const lower = cholesky(tensor(hessian.slice().reverse(), [64, 64], 'f64')).toArray() as Float64Array
    const unit = (i: number, j: number) => lower[(63 - i) * 64 + 63 - j]! / lower[(63 - j) * 65]!
    const weights = layer.weight.toArray() as Float64Array
    for (let row = 0; row < 64; row++) {
      const [scale, zero] = [Number(scales.toArray()[row]), Number(zeros.toArray()[row])]
      const errors: number[] = []
      const found: number[] = []
      for (let k = 0; k < 64; k++) {
        const target = weights[row * 64 + k]! + errors.reduce((sum, error, i) => sum + error * unit(i, k), 0)
        const code = Math.min(7, Math.max(0, Math.round(target / scale) + zero))
        found.push(code)
        errors.push(weights[row * 64 + k]! - scale * (code - zero))
      }
      expect(numbers(codes).slice(row * 64, row * 64 + 64)).toEqual(found)
    }
  })
  test('orthogonal inputs make it round to nearest, code for code, in any order', () => {
    const gram = diagonal(Array.from({ length: 64 }, (_, i) => 1 + ((i * 37) % 64)))
    for (const [groupSize, options] of [
      ['row', {}],
      [16, {}],
      ['row', { actOrder: true }],
      [16, { actOrder: true, staticGroups: true }],
    ] as const) {
      const grid = affineGrid({ bits: 3, groupSize })
      expect(codesOf(run({ ...layer, gram }, grid, options))).toEqual(codesOf(nearest(layer, grid)))
    }
  })
  test('a weight that lies on its grid already stays as it is, whatever the inputs', () => {
    for (const bits of [2, 3, 4, 8] as const) {
      const grid = affineGrid({ bits, groupSize: 'row' })
      const top = 2 ** bits - 1
      const weight = tensor(
        Float64Array.from(
          { length: 64 * 64 },
          (_, i) => (i % 64 < 2 ? (i % 2) * top : (i * 31 + (i >> 6)) % 2 ** bits) - 1,
        ),
        [64, 64],
        'f64',
      )
      expect(numbers(run({ ...layer, weight }, grid).decoded!)).toEqual(numbers(weight))
    }
  })
})

describe('what it gains on correlated inputs, against round to nearest', () => {
  test.each([4, 3, 2] as const)(
    'at %i bits the output error is at most 0.75, and lower still with act-order',
    (bits) => {
      const plain = ratio(rowGrid(bits), {})
      expect(plain).toBeLessThanOrEqual(0.75)
      expect(ratio(rowGrid(bits), { actOrder: true })).toBeLessThan(plain)
    },
  )
  test('damping from 1e-4 to 1e-1 moves the ratio by less than 0.05, and 1 costs more than that', () => {
    const usual = ratio(rowGrid(4), {})
    for (const damping of [1e-4, 1e-3, 1e-1])
      expect(Math.abs(ratio(rowGrid(4), { damping }) - usual)).toBeLessThan(0.05)
    const strong = ratio(rowGrid(4), { damping: 1 })
    expect(strong).toBeGreaterThan(usual + 0.05)
    expect(strong).toBeLessThan(0.8)
  })
  test('on inputs that were not seen it is worse with half as many tokens as inputs, and better with twice as many', () => {
    const curve = [32, 128, 512].map((tokens) => ratio(rowGrid(4), {}, { rows: 32, tokens, held: 1000 }))
    expect(curve[0]).toBeGreaterThan(1)
    expect(curve[1]).toBeLessThan(1)
    expect(curve[2]).toBeLessThan(0.75)
  })
  test.each(['Q3_K', 'Q4_K', 'Q4_0', 'IQ4_NL'] as const)('blocks of %s gain too', (type) => {
    const wide = syntheticLayer({ seed: 5, rows: 16, columns: 256, tokens: 2000 })
    const layer = { weight: wide.weight.cast('f32'), gram: wide.gram, inputs: wide.inputs }
    const error = (edit: ReturnType<typeof run>) => outputError(wide.weight, edit.decoded!, wide.gram)
    expect(
      error(run(layer, { kind: 'blocks', type })) / error(nearest(layer, { kind: 'blocks', type })),
    ).toBeLessThan(0.85)
  })
})

describe('packing', () => {
  const { weight, gram } = syntheticLayer({ seed: 6, rows: 32, columns: 96 })
  const layer = { weight: weight.cast('f32'), gram }

  test.each([2, 3, 4, 8] as const)(
    'a GPTQ layer of %i bits decodes to the values that the method decided',
    (bits) => {
      for (const [options, format] of [
        [{}, 'gptq'],
        [{ actOrder: true }, 'gptq'],
        [{ actOrder: true, staticGroups: true }, 'gptq_v2'],
      ] as const) {
        const edit = run(layer, affineGrid({ bits, groupSize: 32, zeroLow: 1 }), options)
        const { codes, scales, zeros, groupOf } = valuesOf(edit)
        const turned = (x: Tensor) => x.transpose().contiguous()
        const across = storedZeros(turned(zeros).toArray() as Uint8Array, bits, format)
        const decoded = dequantizeGptq({
          bits,
          inputs: 96,
          outputs: 32,
          groupOf: Int32Array.from(groupOf),
          qweight: packDown(turned(codes).toArray() as Uint8Array, 96, 32, bits),
          qzeros: packAcross(across, 3, 32, bits),
          scales: turned(scales).toArray() as Float32Array,
          format,
        })
        expect(numbers(tensor(decoded, [32, 96]))).toEqual(numbers(edit.decoded!).map((value) => value + 0))
      }
    },
  )
  test('a product with the packed weight is the product with its values', () => {
    const edit = run(layer, affineGrid({ bits: 4, groupSize: 32 }))
    const x = tensor(
      Float32Array.from({ length: 96 * 3 }, (_, i) => Math.sin(i)),
      [3, 96],
    )
    const decoded = decodeValues(valuesOf(edit))
    expect(numbers(edit.source.matmul(x))).toEqual(numbers(matmul(x, decoded.transpose())))
  })
})

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
