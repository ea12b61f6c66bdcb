import { describe, expect, test } from 'vitest'
import { linear, randomStream, scope, type Tensor, tensor, vjp } from '../../tensor/index.ts'
import { affineGrid, neighbourGroups } from '../grid.ts'
import { bitmaskOf } from './bitmask.ts'
import type { MaskedGridValues } from './masked_grid.ts'
import { maskedGrid } from './masked_grid.ts'
import { fewRows } from './packed_product.ts'
import { residentSource } from './resident_source.ts'
import { decodeStored, type StoredValues, shapeOfStored } from './values.ts'

const [ROWS, COLUMNS] = [12, 160]
const normal = (name: string, shape: readonly number[]) => randomStream(3, name).normal(shape)
/** Two of each four, or about half at no pattern. */
const maskOf = (pattern: '2:4' | 'any') =>
  Uint8Array.from({ length: ROWS * COLUMNS }, (_, i) =>
    pattern === '2:4'
      ? Number(i % 4 === (i >> 2) % 4 || i % 4 === ((i >> 2) + 2) % 4)
      : (i * 2654435761) >>> 31,
  )

function gridValues(bits: 3 | 4 | 8, groupSize: number) {
  const groups = Math.ceil(COLUMNS / groupSize)
  const codes = Uint8Array.from({ length: ROWS * COLUMNS }, (_, i) => (i * 37) % 2 ** bits)
  return {
    kind: 'grid',
    grid: affineGrid({ bits, groupSize }),
    codes: tensor(codes, [ROWS, COLUMNS], 'u8'),
    scales: normal('scales', [ROWS, groups]).cast('f16').cast('f32'),
    zeros: tensor(new Uint8Array(ROWS * groups).fill(2 ** (bits - 1)), [ROWS, groups], 'u8'),
    groupOf: neighbourGroups(COLUMNS, groupSize),
  } as const
}
const masked = (bits: 3 | 4 | 8, groupSize: number): MaskedGridValues =>
  maskedGrid(gridValues(bits, groupSize), maskOf('any'))
const halves = (name: string, shape: readonly number[]): StoredValues => ({
  kind: 'dense',
  numbers: normal(name, shape).cast('f16'),
})
const codebook = (): StoredValues => ({
  kind: 'codebook',
  shape: [ROWS, COLUMNS],
  bits: 6,
  codes: tensor(
    Uint32Array.from({ length: (ROWS * COLUMNS) / 4 }, (_, i) => (i * 29) % 64),
    [ROWS, COLUMNS / 8, 2],
    'u32',
  ),
  codebooks: normal('codebooks', [2, 64, 1, 8]),
  scales: normal('factors', [ROWS]),
})

const offsets = (): StoredValues => {
  const { grid, codes, scales, groupOf } = gridValues(4, 32)
  return {
    ...{ kind: 'offset', form: grid, codes, scales, groupOf },
    offsets: normal('offsets', scales.shape).cast('f16').cast('f32'),
  }
}
const bilevel = (bits: 2 | 3 | 4, width: number, wholeZeros = false): StoredValues => {
  const codes = (columns: number) =>
    tensor(
      Uint8Array.from({ length: ROWS * columns }, (_, i) => (i * 37 + (i >> 4)) % 2 ** bits),
      [ROWS, columns],
      'u8',
    )
  const groups = COLUMNS / width
  const second = (name: string) =>
    normal(name, [ROWS / 4, groups])
      .cast('f16')
      .cast('f32')
  return {
    ...{ kind: 'bilevel', bits, tile: { rows: 4, columns: width } },
    ...{ codes: codes(COLUMNS), scaleCodes: codes(groups), zeroCodes: codes(groups) },
    second: {
      ...{ scaleScale: second('ss'), scaleZero: second('sz') },
      ...(!wholeZeros && { zeroScale: second('zs'), zeroZero: second('zz') }),
    },
  }
}
/** Three entries a row, and one place met twice. */
const sparse = (): StoredValues => ({
  kind: 'sparse_rows',
  shape: [ROWS, COLUMNS],
  rowOffsets: Uint32Array.from({ length: ROWS + 1 }, (_, row) => 3 * row),
  columns: Uint32Array.from({ length: 3 * ROWS }, (_, entry) =>
    entry === 4 ? 26 : (entry * 59 + 9) % COLUMNS,
  ),
  values: Float32Array.from({ length: 3 * ROWS }, (_, entry) => ((entry * 29) % 17) / 4 - 2),
  valueType: 'f16',
})

const kinds: [string, string, () => StoredValues][] = [
  [
    'a mask over halves',
    'mask over f16',
    () => bitmaskOf(normal('w', [ROWS, COLUMNS]), maskOf('any'), 'f16'),
  ],
  ['2:4 of bf16', 'mask over bf16', () => bitmaskOf(normal('w', [ROWS, COLUMNS]), maskOf('2:4'), 'bf16')],
  ['a mask over 3 bits', 'mask over 3 bits', () => masked(3, 32)],
  ['a mask over 4 bits, wide groups', 'mask over 4 bits', () => masked(4, 64)],
  ['a mask over 8 bits, one group', 'mask over 8 bits', () => masked(8, 160)],
  ['groups that no chunk fits', 'f32', () => masked(4, 40)],
  ['codebooks', '2 codebooks of 6 bits', codebook],
  ['halves', 'f16', () => halves('w', [ROWS, COLUMNS])],
  ['offsets', '4 bits', offsets],
  ['a grid of two levels', '3 bits of two levels', () => bilevel(3, 16)],
  ['a grid of two levels with wide groups, whole zeros', '4 bits of two levels', () => bilevel(4, 32, true)],
  ['two levels whose groups fit no register', 'f16', () => bilevel(2, 40)],
  ['sparse rows', 'sparse rows', sparse],
  [
    'two levels and outliers, rounded, in an order',
    '2 bits of two levels + sparse rows',
    () => ({
      kind: 'permuted',
      values: { kind: 'sum', terms: [bilevel(2, 16), sparse()], rounded: 'f16' },
      order: Uint32Array.from({ length: COLUMNS }, (_, i) => (i * 7) % COLUMNS),
    }),
  ],
  [
    'a rounded sum of what has more digits than f16',
    'f16',
    () => ({ kind: 'sum', terms: [offsets(), sparse()], rounded: 'f16' }),
  ],
  [
    'a grid and a low rank beside it',
    '4 bits + rank 3',
    () => ({
      kind: 'sum',
      terms: [
        gridValues(4, 32),
        { kind: 'product', left: halves('left', [ROWS, 3]), right: halves('right', [3, COLUMNS]) },
      ],
    }),
  ],
  [
    'factors of rows and columns around an order',
    '8 bits',
    () => ({
      kind: 'scaled',
      values: {
        kind: 'permuted',
        values: gridValues(8, 32),
        order: Uint32Array.from({ length: COLUMNS }, (_, i) => (i * 7) % COLUMNS),
      },
      rows: normal('rows', [ROWS]),
      columns: normal('columns', [COLUMNS]),
    }),
  ],
]

/** Largest difference over the sum of the magnitudes of the terms. */
function distance(found: Tensor, x: Tensor, weight: Tensor): number {
  const wide = (y: Tensor) => y.cast('f64')
  const [want, size] = [linear(wide(x), wide(weight)), linear(wide(x).abs(), wide(weight).abs().add(1))]
  return wide(found).sub(want).abs().div(size).max().item()
}

describe.each(kinds)('%s', (_, form, make) => {
  test.each([1, 5, 40])(
    '%i rows of inputs give the product with its numbers, read in its own form',
    (many) => {
      scope(() => {
        const values = make()
        const x = randomStream(1, 'x').normal([many, shapeOfStored(values)[1]])
        const source = residentSource(values)
        expect(source.form).toBe(form)
        expect(distance(source.matmul(x), x, decodeStored(values))).toBeLessThan(COLUMNS * 2 ** -22)
        expect(source.dense().sub(decodeStored(values)).abs().max().item()).toBeLessThan(1e-5)
      })
    },
  )
  test('int8 rounds inputs a little; the gradient of the inputs goes through the numbers', () => {
    scope(() => {
      const values = make()
      const [rows, columns] = shapeOfStored(values)
      const x = randomStream(1, 'x').normal([2, columns])
      const source = residentSource(values, 'int8')
      const exact = linear(x, decodeStored(values))
      const lost = source.matmul(x).sub(exact)
      expect(lost.mul(lost).mean().item()).toBeLessThan(1e-3 * exact.mul(exact).mean().item())
      const dy = randomStream(2, 'dy').normal([2, rows])
      const { value, pull } = vjp(([own]: [Tensor]) => source.matmul(own), [x])
      const [gradient] = pull([[value, dy]])
      const want = dy.matmul(decodeStored(values))
      expect(gradient!.sub(want).abs().max().item()).toBeLessThan(1e-3)
    })
  })
})

test.each(kinds)('%s: a row has the same bits alone and among up to `fewRows`', (_, __, make) => {
  for (const activations of ['f32', 'int8'] as const)
    scope(() => {
      const source = residentSource(make(), activations)
      const x = normal('rows of x', [fewRows, COLUMNS])
      const together = source.matmul(x)
      for (const row of [0, 5, 15]) {
        const alone = source.matmul(x.slice(0, row, row + 1))
        expect(alone.toArray()).toEqual(together.slice(0, row, row + 1).toArray())
      }
    })
})
