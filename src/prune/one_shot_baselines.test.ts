import { describe, expect, test } from 'vitest'
import { affineGrid } from '../nn/grid.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { tensor } from '../tensor/index.ts'
import { numbers, taskOf, valuesOf, wideLayer, zerosIn } from './one_shot_layer.suite.ts'
import { oneShotMagnitude } from './one_shot_magnitude.ts'
import { wanda } from './wanda.ts'

const layer = wideLayer(2)
const small = tensor([1, -4, 2, 3, -6, 5, 8, 7], [2, 4])
const without = { name: 'w', dense: small, current: small, statistics: { rows: 0 } }
const maskOf = (edit: { mask?: Uint8Array }) => [...edit.mask!]

describe('magnitude', () => {
  test.each([
    ['layer', [0, 0, 0, 0, 1, 1, 1, 1]],
    ['row', [0, 1, 0, 1, 0, 0, 1, 1]],
    [2, [0, 1, 0, 1, 1, 0, 1, 0]],
  ] as const)('ranked within a %s, the smallest go, by hand', (scope, expected) => {
    const options = { sparsity: 0.5, scope }
    const edit = oneShotMagnitude(options).compress(without)
    expect(maskOf(edit)).toEqual(expected)
    expect(numbers(edit.decoded!)).toEqual(numbers(small).map((w, i) => (expected[i] ? w : 0)))
  })
  test('neighbours that do not divide a row are refused', () => {
    expect(() => oneShotMagnitude({ scope: 3 }).compress(without)).toThrow(/^w: .*divisible by 3, got 4/)
  })
  test('2:4 keeps the two largest of each four', () => {
    expect(maskOf(oneShotMagnitude({ pattern: { kind: 'n:m', n: 2, m: 4 } }).compress(without))).toEqual([
      0, 1, 0, 1, 0, 0, 1, 1,
    ])
  })
  test('the share is that which is written: 0.29 of 100 is 29, and the ends are nothing and all', () => {
    const weight = layer.weight.slice(0, 0, 10).slice(1, 0, 10).contiguous()
    const zeros = (sparsity: number) =>
      zerosIn(oneShotMagnitude({ sparsity }).compress({ ...without, current: weight }).mask!)
    expect([0, 0.29, 0.58, 0.999, 1].map(zeros)).toEqual([0, 29, 58, 99, 100])
  })
})

describe('wanda', () => {
  test('a weight counts for its size times the norm of its input, within its row, by hand', () => {
    // Norms 4, 1, 1, 2: scores 4 4 2 6, 24 5 8 14. Of equal ones the first goes.
    const statistics = { rows: 9, squares: Float64Array.of(16, 1, 1, 4) }
    const edit = wanda({ sparsity: 0.5 }).compress({ ...without, statistics })
    expect(maskOf(edit)).toEqual([0, 1, 0, 1, 1, 0, 0, 1])
    expect(numbers(edit.decoded!)).toEqual([0, -4, 0, 3, -6, 0, 0, 7])
  })
  test('every row loses the same number', () => {
    const { mask } = wanda({ sparsity: 0.6 }).compress(taskOf(layer))
    for (let row = 0; row < 128; row++) expect(zerosIn(mask!.subarray(row * 256, row * 256 + 256))).toBe(153)
  })
  test.each([0.3, 0.5, 0.7])(
    'the variant comes within 0.001 of %f in all, with rows of their own, each the longest that its sum allows',
    (sparsity) => {
      const { mask, diagnostics } = wanda({ sparsity, variant: true }).compress(taskOf(layer))
      expect(Math.abs(zerosIn(mask!) / (128 * 256) - sparsity)).toBeLessThanOrEqual(0.001)
      const share = Number(/up to ([\d.]+) of/.exec(diagnostics.notes[0]!)![1])
      const norms = taskOf(layer).statistics.squares!.map(Math.sqrt)
      const counts = new Set<number>()
      for (let row = 0; row < 128; row++) {
        const own = mask!.subarray(row * 256, row * 256 + 256)
        const scores = numbers(layer.weight)
          .slice(row * 256, row * 256 + 256)
          .map((w, i) => Math.abs(w) * norms[i]!)
        const total = scores.reduce((a, b) => a + b)
        const pruned = scores.filter((_, i) => !own[i]).reduce((a, b) => a + b, 0)
        const next = Math.min(...scores.filter((_, i) => own[i]))
        expect(pruned).toBeLessThanOrEqual(share * total * (1 + 1e-12))
        expect(pruned + next).toBeGreaterThan(share * total * (1 - 1e-12))
        counts.add(zerosIn(own))
      }
      expect(counts.size).toBeGreaterThan(3)
    },
  )
  test('a task without squares, and squares that are not finite, are refused by name', () => {
    expect(() => wanda().compress(without)).toThrow(/^w: wanda needs the squares of 4 inputs, got none/)
    const statistics = { rows: 9, squares: Float64Array.of(1, Number.NaN, 1, 1) }
    expect(() => wanda().compress({ ...without, statistics })).toThrow(NumericalError)
  })
  test('weights of inputs that are always 0 go first, and the notes count them', () => {
    const statistics = { rows: 9, squares: Float64Array.of(1, 0, 1, 0) }
    const edit = wanda({ sparsity: 0.5 }).compress({ ...without, statistics })
    expect(maskOf(edit)).toEqual([1, 0, 1, 0, 1, 0, 1, 0])
    expect(edit.diagnostics.notes).toEqual(['2 inputs are always 0'])
  })
})

test.each([
  ['magnitude', oneShotMagnitude({ sparsity: 0.6 }), 0.6 * 128 * 256],
  ['magnitude in rows', oneShotMagnitude({ sparsity: 0.6, scope: 'row' }), 0.6 * 128 * 256],
  ['wanda', wanda({ sparsity: 0.6 }), 0.6 * 128 * 256],
  ['the variant of wanda', wanda({ sparsity: 0.6, variant: true }), 0.6 * 128 * 256],
])('%s keeps the zeros of an earlier step, and they count', (_, method, zeros) => {
  const before = wanda({ sparsity: 0.3 }).compress(taskOf(layer))
  const again = method.compress(taskOf(layer, { current: before.decoded!, mask: before.mask }))
  expect(again.mask!.filter((lives, i) => lives && !before.mask![i])).toHaveLength(0)
  expect(Math.abs(zerosIn(again.mask!) - zeros)).toBeLessThan(0.0025 * 128 * 256 + 128)
})
test('with a grid what lives is rounded to nearest beside the mask', () => {
  for (const method of [oneShotMagnitude(), wanda()]) {
    const edit = method.compress(taskOf(layer, { grid: affineGrid({ bits: 4, groupSize: 64 }) }))
    expect(valuesOf(edit).kind).toBe('masked_grid')
    expect(numbers(edit.source.dense())).toEqual(numbers(edit.decoded!))
    expect(numbers(edit.decoded!).filter((w, i) => w !== 0 && !edit.mask![i])).toEqual([])
  }
})
test('options that cannot be are refused when the method is made', () => {
  const nm = (n: number, m: number, axis?: number) =>
    ({ kind: 'n:m', n, m, ...(axis !== undefined && { axis }) }) as const
  const wrong = [
    { sparsity: 1.1 },
    { sparsity: -0.1 },
    { sparsity: Number.NaN },
    { pattern: nm(3, 2) },
    { pattern: nm(2, 4, 0) },
    { pattern: { kind: 'block', shape: [2, 2] } },
    { pattern: { kind: 'channel' } },
    { pattern: nm(2, 4), sparsity: 0.6 },
    { numbers: 'f64' },
  ]
  for (const options of wrong as object[])
    for (const make of [oneShotMagnitude, wanda])
      expect(() => make(options), JSON.stringify(options)).toThrow(OptionError)
  for (const scope of [0, 1.5, 'column'] as never[])
    expect(() => oneShotMagnitude({ scope })).toThrow(OptionError)
  expect(() => wanda({ variant: true, pattern: nm(2, 4) })).toThrow(OptionError)
})
