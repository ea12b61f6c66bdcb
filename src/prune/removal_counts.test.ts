import fc from 'fast-check'
import { expect, test } from 'vitest'
import { removalCounts, removedCount } from './removal_counts.ts'

const traceOf = (losses: readonly (readonly number[])[]) => ({
  width: 1,
  units: losses[0]!.length,
  order: new Uint32Array(losses.length * losses[0]!.length),
  losses: Float64Array.from(losses.flat()),
})
const none = (rows: number) => new Uint32Array(rows)

test('the heap takes the cheapest next step, and not one whose step before is dear', () => {
  // Row 0 gives up its first step only after all of row 1, though its second step is the cheapest of all.
  const trace = traceOf([
    [5, 1, 9],
    [2, 3, 4],
  ])
  const counts = (removed: number) => [...removalCounts(trace, removed, 'heap', none(2))]
  expect([0, 1, 2, 3, 4, 5, 6].map(counts)).toEqual([
    [0, 0],
    [0, 1],
    [0, 2],
    [0, 3],
    [1, 3],
    [2, 3],
    [3, 3],
  ])
})
test('sorting counts how many of the cheapest steps a row has', () => {
  const trace = traceOf([
    [5, 1, 9],
    [2, 3, 4],
  ])
  const counts = (removed: number) => [...removalCounts(trace, removed, 'sort', none(2))]
  expect([0, 1, 2, 3, 4, 5, 6].map(counts)).toEqual([
    [0, 0],
    [1, 0],
    [1, 1],
    [1, 2],
    [1, 3],
    [2, 3],
    [3, 3],
  ])
})
test('of equal steps the earlier row goes first', () => {
  const trace = traceOf([
    [1, 1],
    [1, 1],
  ])
  for (const selection of ['heap', 'sort'] as const)
    expect([...removalCounts(trace, 1, selection, none(2))]).toEqual([1, 0])
})
test('rows alike lose the same number, rounded up', () => {
  expect([
    ...removalCounts(
      traceOf([
        [1, 2],
        [8, 9],
        [3, 4],
      ]),
      4,
      'row',
      none(3),
    ),
  ]).toEqual([2, 2, 2])
})
test('what is gone already counts, and stays gone', () => {
  const trace = traceOf([
    [0, 0, 7],
    [1, 2, 3],
  ])
  const gone = Uint32Array.of(2, 0)
  for (const selection of ['heap', 'sort'] as const) {
    expect([...removalCounts(trace, 1, selection, gone)]).toEqual([2, 0])
    expect([...removalCounts(trace, 4, selection, gone)]).toEqual([2, 2])
  }
  expect([...removalCounts(trace, 2, 'row', gone)]).toEqual([2, 1])
})
test('a share that is a whole number but for rounding removes that number', () => {
  expect([removedCount(10, 0.7), removedCount(1000, 0.1), removedCount(3, 1), removedCount(7, 0)]).toEqual([
    7, 100, 3, 0,
  ])
  expect(removedCount(10, 0.71)).toBe(8)
})
test('a heap of random losses removes what steps one by one remove', () => {
  const losses = fc
    .tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 8 }))
    .chain(([rows, units]) =>
      fc.array(fc.array(fc.integer({ min: 0, max: 20 }), { minLength: units, maxLength: units }), {
        minLength: rows,
        maxLength: rows,
      }),
    )
  fc.assert(
    fc.property(losses, fc.double({ min: 0, max: 1, noNaN: true }), (rows, share) => {
      const removed = removedCount(rows.length * rows[0]!.length, share)
      const want = rows.map(() => 0)
      for (let i = 0; i < removed; i++) {
        let best = -1
        for (const [row, own] of rows.entries())
          if (want[row]! < own.length && (best < 0 || own[want[row]!]! < rows[best]![want[best]!]!))
            best = row
        want[best]!++
      }
      expect([...removalCounts(traceOf(rows), removed, 'heap', none(rows.length))]).toEqual(want)
    }),
  )
})
