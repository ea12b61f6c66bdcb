import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { f16ToNumber } from '../../formats/half.ts'
import { numbersBelow } from '../../formats/mulberry32.suite.ts'
import { blockTypeOf, codedTypeNames } from '../../nn/block_types.ts'
import { columnSweep } from '../../nn/column_sweep.ts'
import { affineGrid, groupWidth, neighbourGroups } from '../../nn/grid.ts'
import { decodeStored, type StoredValues } from '../../nn/values/values.ts'
import { scope, tensor } from '../../tensor/index.ts'
import { numbers } from '../llama/fixtures.suite.ts'
import { describeStored } from '../stored/pare_tensors.ts'
import { candidatesOf, type LevelTarget } from './candidates.ts'
import { factsOf } from './level_facts.ts'
import { levelTargets } from './level_targets.ts'
import { inGroups, type Levels, levelsOf, rowsOfLevels } from './levels.ts'
import { regrid } from './regrid.ts'

const decoded = (values: StoredValues) => scope(() => numbers(decodeStored(values)))
const types = ['f16', 'bf16', 'f32'] as const
const rows = 3

interface Shape {
  seed: number
  bits: number
  columns: number
  groupSize: number | 'row'
  scaleType: (typeof types)[number]
  kind: 'middle' | 'grid' | 'offset' | 'whole offset'
  sorted: boolean
}

/** Random codes with scales of any bits of their type, some negative or 0. */
function randomLevels({ seed, bits, columns, groupSize, scaleType, kind, sorted }: Shape): Levels {
  const below = numbersBelow(seed)
  const width = groupWidth({ groupSize }, columns)
  const groups = Math.ceil(columns / width)
  const drawn = (count: number, draw: () => number) => Array.from({ length: count }, draw)
  const codes = tensor(
    drawn(rows * columns, () => below(2 ** bits)),
    [rows, columns],
    'u8',
  )
  const scales = scope(() =>
    tensor(
      drawn(rows * groups, () => (below(20) === 0 ? 0 : (below(2 ** 24) - 2 ** 22) * 2 ** -30)),
      [rows, groups],
    )
      .cast(scaleType)
      .cast('f32'),
  )
  const neighbours = neighbourGroups(columns, width)
  const groupOf = sorted ? neighbours.map((_, i) => neighbours[(i * 7 + 3) % columns]!) : neighbours
  const form = { bits, groupSize, scaleType }
  const zeros = drawn(rows * groups, () => (kind === 'middle' ? 2 ** (bits - 1) : below(2 ** bits)))
  if (kind === 'grid' || kind === 'middle')
    return {
      kind: 'grid',
      grid: { ...form, symmetric: kind === 'middle' },
      ...{ codes, scales, groupOf },
      zeros: tensor(zeros, [rows, groups], 'u8'),
    }
  const offsets = scope(() => {
    const exact =
      kind === 'whole offset'
        ? scales.mul(tensor(zeros, [rows, groups])).neg()
        : tensor(
            drawn(rows * groups, () => (below(2 ** 24) - 2 ** 23) * 2 ** -26),
            [rows, groups],
          )
    return exact.cast(scaleType).cast('f32')
  })
  return { kind: 'offset', form, codes, scales, offsets, groupOf }
}

const shapes = fc
  .record({
    seed: fc.nat(),
    bits: fc.integer({ min: 1, max: 8 }),
    columns: fc.constantFrom(32, 64, 96, 160, 256),
    groupSize: fc.constantFrom<(number | 'row')[]>('row', 16, 32, 64),
    scaleType: fc.constantFrom(...types),
    kind: fc.constantFrom<Shape['kind'][]>('middle', 'grid', 'offset', 'whole offset'),
    sorted: fc.boolean(),
  })
  .filter(({ columns, groupSize }) => groupSize === 'row' || columns % groupSize === 0)

/** Scale of each value: what a code of 1 is with a zero of 0. */
const steps = (levels: Levels) =>
  scope(() => {
    const { codes, scales, groupOf } = levels
    const form = levels.kind === 'grid' ? levels.grid : { ...levels.form, symmetric: false }
    const ones = tensor(new Uint8Array(codes.size).fill(1), codes.shape, 'u8')
    const zeros = tensor(new Uint8Array(scales.size), scales.shape, 'u8')
    return decoded({ kind: 'grid', grid: form, codes: ones, scales, zeros, groupOf }).map(Math.abs)
  })

describe.each(Object.entries(levelTargets) as [string, LevelTarget][])('codes for %s', (_, target) => {
  test('keep every value where that is said, else move by an eighth of a step at most, and are what is planned', () => {
    let [exact, near] = [0, 0]
    fc.assert(
      fc.property(shapes, (shape) => {
        const levels = randomLevels(shape)
        const before = decoded(levels)
        for (const candidate of candidatesOf(factsOf(levels), target)) {
          const after = regrid(levels, candidate.form)
          const values = decoded(after)
          if (candidate.exact) {
            exact++
            expect(values.every((value, i) => value === before[i])).toBe(true)
          } else {
            near++
            const step = steps(levels)
            // Rounding scale and offset each moves by its shift; f32 adds a last bit of the value.
            const far = values.findIndex(
              (value, i) => Math.abs(value - before[i]!) > step[i]! / 4 + Math.abs(before[i]!) * 2 ** -22,
            )
            expect(far).toBe(-1)
          }
          const described = describeStored(after)
          const { form } = candidate
          // One group a row is also as wide as the row, and what is in the middle may be said to be or not.
          expect({ ...described, sorted: undefined }).toEqual({ ...form, sorted: undefined })
          if (form.kind !== 'blocks' && form.sorted === false)
            expect((described as typeof form).sorted).toBe(false)
          const part = regrid(rowsOfLevels(levels, 1, 3), candidate.form)
          expect(decoded(part)).toEqual(values.slice(values.length / 3))
        }
      }),
      { numRuns: 300 },
    )
    expect(exact).toBeGreaterThan(10)
    if (target.kind !== 'grid') expect(near).toBeGreaterThan(5)
  })
})

test.each(codedTypeNames.filter((type) => type !== 'IQ4_NL'))(
  '%s comes apart into levels of the same values',
  (type) => {
    const { blockBytes, blockLength } = blockTypeOf(type)
    const below = numbersBelow(7)
    const [height, blocks] = [4, 3]
    const bytes = Uint8Array.from({ length: height * blocks * blockBytes }, () => below(256))
    // Infinite and undefined halves are no scales: their exponent has all bits.
    for (let i = 1; i < bytes.length; i++) if ((bytes[i]! & 0x7c) === 0x7c) bytes[i]! ^= 0x40
    const values: StoredValues = {
      ...{ kind: 'blocks', type, shape: [height, blocks * blockLength] },
      bytes: tensor(bytes, [height, blocks * blockBytes], 'u8'),
    } as const
    const levels = levelsOf(values)!
    const found = decoded(levels)
    const expected = decoded(values)
    expect(expected.every(Number.isFinite)).toBe(true)
    expect(found.every((value, i) => value === expected[i])).toBe(true)
  },
)
test('types that are not evenly spaced, and what has no levels at all, are none', () => {
  const bytes = tensor(new Uint8Array(18), [1, 18], 'u8')
  expect(levelsOf({ kind: 'blocks', type: 'IQ4_NL', shape: [1, 32], bytes })).toBeUndefined()
  expect(levelsOf({ kind: 'dense', numbers: tensor([1], [1, 1]) })).toBeUndefined()
})
test('narrower groups repeat scales, zeros and offsets', () => {
  const levels = randomLevels({
    ...{ seed: 1, bits: 4, columns: 64, groupSize: 32, scaleType: 'f16', kind: 'grid', sorted: false },
  } as const)
  const narrow = inGroups(levels, 8)
  expect(narrow.scales.shape).toEqual([rows, 8])
  expect(numbers(narrow.scales).slice(0, 5)).toEqual([0, 0, 0, 0, 1].map((i) => numbers(levels.scales)[i]))
  expect(decoded(narrow)).toEqual(decoded(levels))
})

describe('by hand:', () => {
  const grid = (zero: number, bits = 4, scale = f16ToNumber(0x2e67)): Levels => ({
    kind: 'grid',
    grid: { bits, groupSize: 32, symmetric: zero === 2 ** (bits - 1), scaleType: 'f16' },
    codes: tensor(
      Array.from({ length: 32 }, (_, i) => i % 2 ** bits),
      [1, 32],
      'u8',
    ),
    scales: tensor([scale], [1, 1]),
    zeros: tensor([zero], [1, 1], 'u8'),
    groupOf: new Uint32Array(32),
  })
  const first = (levels: Levels, target: LevelTarget) => {
    const [candidate] = candidatesOf(factsOf(levels), target)
    return candidate && { type: (candidate.form as { type?: string }).type, exact: candidate.exact }
  }
  test('4 bits with a zero of 8 are Q4_0, with another Q4_1, whose offset is rounded, or Q5_0, where none is', () => {
    expect(first(grid(8), levelTargets.gguf)).toEqual({ type: 'Q4_0', exact: true })
    // 11 times an odd number of 11 bits needs 15.
    const found = candidatesOf(factsOf(grid(11)), levelTargets.gguf)
    expect(found.map(({ form, exact }) => [(form as { type?: string }).type, exact])).toEqual([
      ['Q4_1', false],
      ['Q5_0', true],
      ['Q5_1', true],
      ['Q8_0', true],
    ])
  })
  test('3 bits with any zero lie within the 4 bits of Q4_0', () => {
    expect(first(grid(0, 3), levelTargets.gguf)).toEqual({ type: 'Q4_0', exact: true })
    expect(first(grid(7, 3), levelTargets.gguf)).toEqual({ type: 'Q4_0', exact: true })
  })
  test('5 bits have no AWQ, which has 4', () => {
    expect(first(grid(16, 5), levelTargets.awq)).toBeUndefined()
  })
})

test('what was decoded comes back to the codes it was, with the scales it had', () => {
  scope(() => {
    const below = numbersBelow(3)
    const weight = tensor(
      Array.from({ length: 4 * 64 }, () => (below(2000) - 1000) / 1000),
      [4, 64],
    )
    for (const type of ['Q8_0', 'Q4_0', 'Q4_1'] as const) {
      const { values } = columnSweep(weight, { grid: { kind: 'blocks', type } })
      const again = columnSweep(decodeStored(values), { grid: { kind: 'blocks', type } }).values
      expect(again.kind === 'blocks' && values.kind === 'blocks' && numbers(again.bytes)).toEqual(
        values.kind === 'blocks' && numbers(values.bytes),
      )
    }
    for (const grid of [affineGrid(), affineGrid({ symmetric: true, bits: 8 })]) {
      const { values } = columnSweep(weight, { grid })
      if (values.kind !== 'grid') continue
      const [scales, zeros] = [numbers(values.scales), numbers(values.zeros)]
      const codes = decoded(values).map((value, i) => {
        const group = Math.floor(i / 64)
        return Math.round(value / scales[group]!) + zeros[group]!
      })
      expect(codes).toEqual(numbers(values.codes))
    }
  })
})
