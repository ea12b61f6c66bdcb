import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { faultOf, type PareWeight } from '../../formats/pare_weight.ts'
import { decodeStored, type StoredValues } from '../../nn/values/values.ts'
import { FormatError } from '../../tensor/errors.ts'
import { scope, tensor } from '../../tensor/index.ts'
import { encodeStored } from '../write/encode_stored.ts'
import { describeStored, tensorsOfStored } from './pare_tensors.ts'
import { type Kind, leafKinds, RandomValues, treeKinds } from './random_values.suite.ts'
import { readStored } from './read_stored.ts'
import { archiveOf } from './stored_archive.suite.ts'

const throughJson = (weight: PareWeight): PareWeight => JSON.parse(JSON.stringify(weight))
const decoded = (values: StoredValues) => scope(() => Buffer.from(decodeStored(values).bytes()))

function expectSame(values: StoredValues, random: RandomValues): void {
  const weight = throughJson(describeStored(values))
  expect(faultOf('w', weight)).toBeUndefined()
  const archive = archiveOf(values)
  const [rows, columns] = weight.shape
  const whole = decoded(values)
  const found = readStored(archive, 'w', weight, 0, rows)
  expect(describeStored(found)).toEqual(weight)
  expect(decoded(found).equals(whole)).toBe(true)
  const start = random.below(rows)
  const end = start + 1 + random.below(rows - start)
  const part = scope(() => decoded(readStored(archive, 'w', weight, start, end)))
  expect(part.equals(whole.subarray(start * columns * 4, end * columns * 4))).toBe(true)
}

const shapes = fc.tuple(
  fc.integer({ min: 1, max: 13 }),
  fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constant(32)),
)
test.each([...leafKinds, ...treeKinds])(
  '%s: what is read is what was written, bit for bit, whole and by rows',
  (kind) => {
    fc.assert(
      fc.property(shapes, fc.nat(), (shape, seed) =>
        scope(() => {
          const random = new RandomValues(seed)
          expectSame(random.of(kind, shape), random)
        }),
      ),
      { numRuns: 60 },
    )
  },
)
test('trees of trees are read as they were written', () => {
  fc.assert(
    fc.property(shapes, fc.nat(), (shape, seed) =>
      scope(() => {
        const random = new RandomValues(seed)
        expectSame(random.any(shape, 3), random)
      }),
    ),
    { numRuns: 150 },
  )
})

test('the tensors of a tree are named by their place in it', () => {
  const steps = { bits: 3, groupSize: 4, scaleType: 'bf16', sorted: true } as const
  const shape: [number, number] = [2, 10]
  const weight: PareWeight = {
    kind: 'sum',
    shape,
    terms: [
      { kind: 'grid', shape, ...steps, symmetric: false },
      {
        kind: 'scaled',
        shape,
        rowType: 'f32',
        values: {
          kind: 'product',
          shape,
          left: { kind: 'dense', shape: [2, 1], numberType: 'f16' },
          right: { kind: 'sparse_rows', shape: [1, 10], entries: 5, valueType: 'f32' },
        },
      },
    ],
  }
  expect(tensorsOfStored('w', weight).map(({ name, type, shape }) => `${name} ${type} ${shape}`)).toEqual([
    'w.terms.0.codes U32 2,1',
    'w.terms.0.scales BF16 2,3',
    'w.terms.0.zeros U32 2,1',
    'w.terms.0.group_of I32 10',
    'w.terms.1.row_scales F32 2',
    'w.terms.1.values.left.numbers F16 2,1',
    'w.terms.1.values.right.row_offsets U32 2',
    'w.terms.1.values.right.columns U16 5',
    'w.terms.1.values.right.values F32 5',
  ])
})

describe('what does not fit is refused by the name of its tensor:', () => {
  const random = new RandomValues(7)
  const sparse: StoredValues = {
    kind: 'sparse_rows',
    shape: [2, 3],
    rowOffsets: Uint32Array.of(0, 1, 3),
    columns: Uint32Array.of(2, 0, 1),
    values: Float32Array.of(5, 1, 2),
    valueType: 'f16',
  }
  const bitmask: StoredValues & { kind: 'bitmask' } = {
    kind: 'bitmask',
    shape: [2, 10],
    mask: Uint8Array.of(0b101, 0b10, 0, 0b01),
    kept: tensor([1, 2, 3, 4], [4], 'f16'),
  }
  const maskedGrid: StoredValues = {
    kind: 'masked_grid',
    ...{ shape: [2, 10] as const, mask: bitmask.mask, codes: tensor([1, 2, 3, 4], [4], 'u8') },
    grid: { bits: 3, groupSize: 'row', symmetric: false, scaleType: 'f16' },
    scales: tensor([1, 2], [2, 1]),
    zeros: tensor([0, 7], [2, 1], 'u8'),
    groupOf: new Uint32Array(10),
  }
  const codebook: StoredValues = {
    kind: 'codebook',
    ...{ shape: [1, 2] as const, bits: 2, codes: tensor([0, 2], [1, 2, 1], 'u32') },
    ...{ codebooks: tensor([1, 2, 3], [1, 3, 1, 1]), scales: tensor([1]) },
  }
  const columnLevels: StoredValues = {
    ...{ kind: 'column_levels', shape: [2, 2], centred: false },
    levels: tensor([1, 3], [2], 'u16'),
    ...{ lows: tensor([-1, -2]), highs: tensor([1, 0]), words: tensor([5], [1], 'u64') },
  }
  test.each<[string, StoredValues, number, number]>([
    ['levels', columnLevels, 0, 0],
    ['levels', columnLevels, 0, 2],
    ['row_offsets', sparse, 4, 9],
    ['row_offsets', sparse, 0, 1],
    ['row_offsets', sparse, 8, 2],
    ['columns', sparse, 2, 3],
    ['mask', bitmask, 0, 0b111],
    ['row_offsets', bitmask, 8, 5],
    ['mask', maskedGrid, 0, 0b111],
    ['row_offsets', maskedGrid, 8, 5],
    ['order', random.of('permuted', [2, 5], 1), 0, 5],
    ['codes', codebook, 0, 0b1100],
  ])('%s', (part, values, at, byte) => {
    const damaged = archiveOf(values, (name, bytes) => {
      if (name === `w.${part}`) bytes[at] = byte
    })
    const read = () => readStored(damaged, 'w', describeStored(values), 0, 2)
    const rows = describeStored(values).shape[0]
    expect(() => scope(() => readStored(damaged, 'w', describeStored(values), 0, rows))).toThrow(FormatError)
    expect(read).toThrow(new RegExp(`^w\\.${part}: `))
  })
  test('an order that names a column twice', () => {
    const values: StoredValues = {
      kind: 'permuted',
      values: bitmask,
      order: Uint32Array.from({ length: 10 }, (_, i) => i),
    }
    const damaged = archiveOf(values, (name, bytes) => {
      if (name === 'w.order') bytes[0] = 1
    })
    expect(() => readStored(damaged, 'w', describeStored(values), 0, 1)).toThrow(/^w\.order: .*each of 10/)
  })
  test('a description of other sizes', () => {
    const wrong = { ...describeStored(sparse), entries: 4 } as PareWeight
    expect(() => readStored(archiveOf(sparse), 'w', wrong, 0, 2)).toThrow(FormatError)
  })
  test('values that are not what was planned', () => {
    const other = new RandomValues(1).of('dense', [2, 3])
    expect(() => encodeStored('w', other, describeStored(sparse))).toThrow(/^w: .*was planned/)
    const columns = Uint32Array.of(2, 0)
    expect(() => encodeStored('w', { ...sparse, columns })).toThrow(/^w\.columns: needs U16 \[3\]/)
  })
  test('a symmetric grid with another zero, and codes past their bits', () => {
    const grid = { bits: 2, groupSize: 'row', symmetric: true, scaleType: 'f16' } as const
    const values = (zero: number, code: number): StoredValues => ({
      kind: 'grid',
      grid,
      codes: tensor([code], [1, 1], 'u8'),
      scales: tensor([1], [1, 1]),
      zeros: tensor([zero], [1, 1], 'u8'),
      groupOf: Uint32Array.of(0),
    })
    expect(encodeStored('w', values(2, 3)).map(({ name }) => name)).toEqual(['w.codes', 'w.scales'])
    expect(() => encodeStored('w', values(1, 3))).toThrow(/zeros of 2, got 1/)
    expect(() => encodeStored('w', values(2, 4))).toThrow(/at most 3, got 4/)
  })
})

test('kinds of values are all among those that are tested', () => {
  const all: Record<Kind, true> = Object.fromEntries(
    [...leafKinds, ...treeKinds].map((kind) => [kind, true]),
  ) as never
  const needed: Record<Kind, true> = {
    ...{ dense: true, grid: true, blocks: true, offset: true, bilevel: true, codebook: true, bitmask: true },
    ...{
      column_levels: true,
      sparse_rows: true,
      masked_grid: true,
      rotated_grid: true,
      sum: true,
      product: true,
      scaled: true,
    },
    ...{ permuted: true },
  }
  expect(all).toEqual(needed)
})
