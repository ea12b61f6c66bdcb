import { describe, expect, test } from 'vitest'
import {
  concat,
  indexSelect,
  linear,
  randomStream,
  scope,
  type Tensor,
  tensor,
  vjp,
} from '../../tensor/index.ts'
import { type ColumnLevelValues, packLevels } from './column_levels.ts'
import { levelLayout } from './level_layout.ts'
import { levelWeight } from './level_product.ts'
import { decodePacked } from './packed_weight.ts'
import { heldBytes, roundedInputs } from './resident.suite.ts'
import { residentSource } from './resident_source.ts'
import { bitsOfStored, decodeStored } from './values.ts'

const wide = (x: Tensor) => x.cast('f64')
const largest = (x: Tensor) => x.abs().max().item()

/** The ranges of some rows begin or end with 0. */
function valuesOf(rows: number, counts: readonly number[], centred = false): ColumnLevelValues {
  const random = randomStream(counts.length, 'levels')
  const columns = counts.length
  const levels = tensor(Uint16Array.from(counts), [columns], 'u16')
  const tops = levels.cast('f32').reshape([columns, 1])
  const codes = random.uniform([columns, rows]).mul(tops).floor().minimum(tops.sub(1)).cast('u16')
  const ends = [0, 3].map((shift) => {
    const isOpen = Float32Array.from({ length: rows }, (_, row) => Number((row + shift) % 7 > 0))
    return random
      .uniform([rows])
      .add(0.2)
      .mul(tensor(isOpen, [rows]))
      .cast('f16')
      .cast('f32')
  })
  return {
    ...{ kind: 'column_levels', shape: [rows, columns], levels, centred },
    ...{ lows: ends[0]!.neg(), highs: ends[1]!, words: packLevels(codes, levels) },
  }
}
/** Column counts around a mean of so many bits, as losses that follow a log-normal law give. */
const spreadCounts = (columns: number, bits: number, deviation = 0.6): number[] =>
  Array.from(randomStream(7, 'counts').normal([columns]).toArray() as Float32Array, (x) =>
    Math.max(1, Math.round(2 ** (bits + deviation * x))),
  )
const repeated = (columns: number, counts: readonly number[]) =>
  Array.from({ length: columns }, (_, column) => counts[(column * 7) % counts.length]!)

/** Rows, columns, their levels, whether two are centred, and the words of reports. */
const cases: [string, number, number[], boolean, string][] = [
  ['one column', 5, [3], false, '2 bits by columns'],
  ['powers of two', 21, repeated(389, [2, 4, 8, 16]), false, '2, 3 and 4 bits by columns'],
  ['one number of levels', 13, repeated(64, [6]), false, '3 bits by columns'],
  ['columns of one level', 13, repeated(601, [1, 3, 1, 7]), false, '2 and 3 bits by columns'],
  ['two levels', 9, repeated(40, [2]), false, '2 bits by columns'],
  ['two centred levels', 9, repeated(40, [2]), true, '2 bits by columns'],
  ['two centred levels among others', 37, repeated(523, [1, 2, 3, 5, 2]), true, '2 and 3 bits by columns'],
  [
    'codes of 5 to 7 bits',
    21,
    repeated(211, [17, 32, 33, 50, 64, 65, 100, 128]),
    false,
    '2, 3 and 4 bits by columns',
  ],
  ['up to 256 levels', 21, repeated(701, [2, 9, 129, 255, 256]), false, '2, 4 and 8 bits by columns'],
  ['some 2 bits', 53, spreadCounts(509, 2), true, '2, 3 and 4 bits by columns'],
  ['some 4 bits', 53, spreadCounts(509, 4), false, '2, 3 and 4 bits by columns'],
]

describe.each(cases)('%s', (_, rows, counts, centred, form) => {
  const columns = counts.length
  test('its numbers are those that are stored', () => {
    scope(() => {
      const values = valuesOf(rows, counts, centred)
      const source = residentSource(values)
      expect(source.form).toBe(form)
      expect(largest(source.dense().sub(decodeStored(values)))).toBe(0)
    })
  })
  test.each([1, 4, 6, 20])('%i rows of inputs, with floats and with rounded inputs', (many) => {
    scope(() => {
      const values = valuesOf(rows, counts, centred)
      const x = randomStream(many, 'x').normal([many, columns])
      const want = linear(wide(x), wide(decodeStored(values)))
      // Codes and zeros meet the inputs apart, so that every column counts as much as the range of the row.
      const range = values.highs.sub(values.lows)
      const size = wide(x).abs().sum([-1]).reshape([many, 1]).mul(wide(range))
      const distance = (found: Tensor, from: Tensor) =>
        largest(
          wide(found)
            .sub(from)
            .div(size.add(2 ** -60)),
        )
      expect(distance(residentSource(values).matmul(x), want)).toBeLessThan(2 ** -21)
      const { planes, columns: order, factors } = levelWeight(values)!
      const placed = indexSelect(x, 1, order).mul(factors)
      const lost = wide(roundedInputs(placed)).sub(wide(placed))
      const shifted = want.add(linear(lost, wide(concat(planes.map(decodePacked), 1))).mul(wide(range)))
      expect(distance(residentSource(values, 'int8').matmul(x), shifted)).toBeLessThan(2 ** -21)
    })
  })
  test('int8 loses little; the gradient of the inputs goes through the numbers', () => {
    scope(() => {
      const values = valuesOf(rows, counts, centred)
      const [source, weight] = [residentSource(values, 'int8'), decodeStored(values)]
      const x = randomStream(1, 'x').normal([2, columns])
      const exact = linear(x, weight)
      const energy = (y: Tensor) => y.square().mean().item()
      const scale = energy(x) * energy(weight) * columns
      expect(energy(source.matmul(x).sub(exact))).toBeLessThan(1e-3 * scale)
      const dy = randomStream(2, 'dy').normal([2, rows])
      const { value, pull } = vjp(([own]: [Tensor]) => source.matmul(own), [x])
      const [gradient] = pull([[value, dy]])
      expect(largest(gradient!.sub(dy.matmul(weight)))).toBeLessThan(1e-3)
    })
  })
})
test('a row of inputs has the same bits alone and among others', () => {
  scope(() => {
    const source = residentSource(valuesOf(19, spreadCounts(150, 3)))
    const x = randomStream(1, 'x').normal([6, 150])
    const all = source.matmul(x).slice(0, 2, 3).contiguous()
    expect(source.matmul(x.slice(0, 2, 3)).toArray()).toEqual(all.toArray())
  })
})
test('rows of zeros stay zeros, and more than 256 levels or none are floats', () => {
  scope(() => {
    const values = valuesOf(7, repeated(32, [2, 5]))
    const none = { ...values, lows: values.lows.mul(0), highs: values.highs.mul(0) }
    const x = randomStream(1, 'x').normal([1, 32])
    expect(largest(residentSource(none).matmul(x))).toBe(0)
    expect(residentSource(valuesOf(7, [2, 300])).form).toBe('f32')
    expect(residentSource(valuesOf(7, [1, 1])).form).toBe('f16')
  })
})
test('what is left of a plane behind its last four parts moves to the next where that takes fewer bits', () => {
  const sizes = (threes: number, sixteens: number) =>
    levelLayout(new Uint16Array(threes + sixteens).fill(3).fill(16, threes), false)!.planes.map(
      ({ bits, columns }) => [bits, columns.length],
    )
  expect(sizes(130, 30)).toEqual([
    [2, 128],
    [4, 32],
  ])
  expect(sizes(250, 300)).toEqual([
    [2, 256],
    [4, 320],
  ])
  expect(sizes(20, 1000)).toEqual([[4, 1024]])
})
test('every column has a place for all of its bits', () => {
  const counts = Uint16Array.from(spreadCounts(999, 4, 1.5), (count) => Math.min(count, 256))
  const bits = new Float64Array(999)
  for (const { columns, widths } of levelLayout(counts, false)!.planes)
    for (const [at, column] of columns.entries()) bits[column]! += widths[at]!
  for (const [column, count] of counts.entries())
    expect(count === 1 || 2 ** bits[column]! >= count).toBe(true)
})
test.each([2, 3, 4])('%i bits a weight are held in at most 1.4 times what is stored', (bits) => {
  scope(() => {
    const values = valuesOf(576, spreadCounts(1536, bits))
    const ratio = (8 * heldBytes(residentSource(values))) / bitsOfStored(values)
    expect(ratio).toBeLessThan(1.4)
  })
})
