import { expect, test } from 'vitest'
import { numbersBelow } from '../formats/mulberry32.suite.ts'
import { OptionError } from '../tensor/errors.ts'
import { globalMasks } from './global_mask.ts'
import { keptCount, type Scores } from './mask.ts'
import { checkPattern, maskOf, type Pattern } from './pattern.ts'

const scored = (shape: number[], values?: number[]): Scores => {
  const size = shape.reduce((product, extent) => product * extent, 1)
  const next = numbersBelow(size)
  return { values: Float32Array.from(values ?? Array.from({ length: size }, () => next(1 << 20))), shape }
}
const equal = (...shape: number[]) =>
  scored(
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b) }, () => 1),
  )
const shapes = [[24], [4, 8], [3, 5, 8], [2, 3, 3, 4]]
const ones = (mask: Uint8Array) => mask.reduce((sum, bit) => sum + bit, 0)

test('eight equal scores at 0.5: the first four unstructured, the later two of each four in 2:4', () => {
  expect([...maskOf(equal(8), 0.5)]).toEqual([1, 1, 1, 1, 0, 0, 0, 0])
  expect([...maskOf(equal(8), 0.5, { kind: 'n:m', n: 2, m: 4 })]).toEqual([0, 0, 1, 1, 0, 0, 1, 1])
  expect([...maskOf(equal(8), 0.5, { kind: 'n:m', n: 2, m: 4 }, 'lowest')]).toEqual([1, 1, 0, 0, 1, 1, 0, 0])
})
test('a mask equals a brute-force sort on random tensors of every rank', () => {
  for (const shape of shapes)
    for (const sparsity of [0.1, 0.5, 0.77, 0.99]) {
      const scores = scored(shape)
      const { values } = scores
      const best = Array.from(values.keys()).sort((a, b) => values[b]! - values[a]! || a - b)
      const kept = new Set(best.slice(0, keptCount(values.length, sparsity)))
      expect(maskOf(scores, sparsity)).toEqual(Uint8Array.from(values, (_, i) => (kept.has(i) ? 1 : 0)))
    }
})
test('in n:m every group has exactly n ones, the largest of it, along any axis', () => {
  for (const [shape, axis, n, m] of [
    [[4, 8], -1, 2, 4],
    [[4, 8], 0, 1, 4],
    [[3, 6, 5], 1, 2, 3],
    [[2, 3, 3, 4], 3, 1, 2],
  ] as const) {
    const scores = scored([...shape])
    const mask = maskOf(scores, 0.5, { kind: 'n:m', n, m, axis })
    const at = axis < 0 ? axis + shape.length : axis
    const inner = shape.slice(at + 1).reduce((product, extent) => product * extent, 1)
    const groups = new Map<string, number[]>()
    for (let i = 0; i < mask.length; i++) {
      const along = Math.floor(i / inner) % shape[at]!
      const group = `${Math.floor(i / (inner * shape[at]!))} ${i % inner} ${Math.floor(along / m)}`
      groups.set(group, [...(groups.get(group) ?? []), i])
    }
    for (const group of groups.values()) {
      expect(group).toHaveLength(m)
      const kept = group.filter((i) => mask[i] === 1)
      expect(kept).toHaveLength(n)
      const lowest = Math.min(...kept.map((i) => scores.values[i]!))
      expect(group.filter((i) => scores.values[i]! > lowest).every((i) => kept.includes(i))).toBe(true)
    }
  }
})
test('without an axis the groups run along the rows of the [out, rest] matrix', () => {
  const values = [1, 2, 3, 4, 8, 7, 6, 5]
  const pattern = { kind: 'n:m', n: 2, m: 4 } as const
  // Four inputs a row, of which the last axis has two.
  expect([...maskOf(scored([2, 2, 2], values), 0.5, pattern)]).toEqual([0, 0, 1, 1, 1, 1, 0, 0])
  expect(() => maskOf(scored([2, 2, 2], values), 0.5, { ...pattern, axis: -1 })).toThrow(
    /axis -1 of \[2, 2, 2\]/,
  )
})
test('a sparsity of 0 keeps all, whatever the pattern', () => {
  for (const pattern of [
    { kind: 'unstructured' },
    { kind: 'n:m', n: 1, m: 4 },
    { kind: 'block', shape: [2, 2] },
    { kind: 'channel' },
  ] satisfies Pattern[])
    expect(ones(maskOf(scored([4, 8]), 0, pattern))).toBe(32)
})
test('an axis that m does not divide names the shape, the extent and the way out', () => {
  expect(() => maskOf(scored([2, 6]), 0.5, { kind: 'n:m', n: 2, m: 4 })).toThrow(
    /\[2, 6\].*by 4, got 6; leave/,
  )
})
test('block (4, 1): every block is all ones or all zeros, and ragged edges are cut', () => {
  const shape = [10, 3]
  const scores = scored(shape)
  const mask = maskOf(scores, 0.5, { kind: 'block', shape: [4, 1] })
  for (let column = 0; column < 3; column++)
    for (const rows of [
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ])
      expect(new Set(rows.map((row) => mask[row * 3 + column])).size).toBe(1)
  const blocksKept = [0, 4, 8].flatMap((row) => [0, 1, 2].map((column) => mask[row * 3 + column]!))
  expect(blocksKept.reduce((a, b) => a + b)).toBe(keptCount(9, 0.5))
})
test('blocks are ranked by mean where edges are ragged, or by their largest score', () => {
  const rows = scored([1, 5], [3, 3, 0, 5, 4])
  // Means of [3 3], [0 5], [4] are 3, 2.5, 4; sums would be 6, 5, 4; maxima 3, 5, 4.
  expect([...maskOf(rows, 2 / 3, { kind: 'block', shape: [1, 2] })]).toEqual([0, 0, 0, 0, 1])
  expect([...maskOf(rows, 2 / 3, { kind: 'block', shape: [1, 2], pooling: 'max' })]).toEqual([0, 0, 1, 1, 0])
  // One axis is one row.
  expect([...maskOf({ ...rows, shape: [5] }, 2 / 3, { kind: 'block', shape: [3, 2] })]).toEqual([
    0, 0, 0, 0, 1,
  ])
})
test('blocks reach over all further axes, or over the columns of the flattened matrix', () => {
  const scores = scored([2, 2, 2], [1, 0, 2, 3, 9, 0, 4, 4])
  expect([...maskOf(scores, 0.5, { kind: 'block', shape: [1, 1], further: 'whole' })]).toEqual([
    0, 0, 0, 0, 1, 1, 1, 1,
  ])
  expect([...maskOf(scores, 0.5, { kind: 'block', shape: [1, 1] })]).toEqual([0, 0, 0, 1, 1, 0, 1, 1])
})
test('channels go whole, by the sum of their scores', () => {
  const scores = scored([3, 2], [1, 4, 2, 2, 0, 9])
  expect([...maskOf(scores, 0.4, { kind: 'channel' })]).toEqual([1, 1, 0, 0, 1, 1])
  expect([...maskOf(scores, 0.5, { kind: 'channel', axis: -1 })]).toEqual([0, 1, 0, 1, 0, 1])
})
test('global masks rank all tensors together, each divided by its norm unless that is refused', () => {
  const scores = new Map([
    ['b', scored([2], [30, 40])],
    ['a', scored([4], [1, 1, 1, 1])],
  ])
  // By their norms 0.6, 0.8 and four times 0.5.
  expect(globalMasks(scores, 0.5)).toEqual(
    new Map([
      ['a', Uint8Array.of(1, 0, 0, 0)],
      ['b', Uint8Array.of(1, 1)],
    ]),
  )
  const layers = new Map([...scores, ['c', scored([4], [8, 8, 2, 2])]])
  expect(ones(globalMasks(layers, 0.4, { normalise: false }).get('a')!)).toBe(0)
  expect([...globalMasks(layers, 0.4).get('a')!]).toEqual([1, 1, 0, 0])
  expect(globalMasks(scores, 0.5, { own: new Map([['b', 0.5]]) })).toEqual(
    new Map([
      ['a', Uint8Array.of(1, 1, 0, 0)],
      ['b', Uint8Array.of(0, 1)],
    ]),
  )
})
test('patterns that no tensor can have are refused', () => {
  for (const pattern of [
    { kind: 'n:m', n: 3, m: 2 },
    { kind: 'n:m', n: 0, m: 4 },
    { kind: 'block', shape: [0, 1] },
    { kind: 'channel', axis: 0.5 },
    { kind: 'diagonal' },
  ])
    expect(() => checkPattern('test', pattern as Pattern)).toThrow(OptionError)
  expect(() => maskOf(scored([8]), 0.5, { kind: 'n:m', n: 2, m: 4 }, 'all')).toThrow(OptionError)
})
