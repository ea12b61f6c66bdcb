import fc from 'fast-check'
import { expect, test } from 'vitest'
import { exchange } from './exchange.ts'
import type { CoreItem } from './relaxation.ts'

const item = (menu: number, moves: readonly (readonly [cost: number, error: number])[]): CoreItem => ({
  menu,
  moves: moves.map(([cost, error], place) => ({ place, cost, error })),
  leastAdded: 0,
})
const pair = fc.tuple(fc.integer({ min: -9, max: 9 }), fc.integer({ min: -9, max: 9 }))
const task = fc
  .array(fc.array(pair, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 5 })
  .chain((lists) =>
    fc.record({
      core: fc.constant(lists.map((moves, menu) => item(menu, moves))),
      moves: fc.tuple(...lists.map((moves) => fc.nat(moves.length - 1))),
      slack: fc.nat(12),
      noise: fc.constant(0),
    }),
  )
const total = (core: readonly CoreItem[], moves: readonly number[]) => ({
  cost: core.reduce((sum, { moves: all }, i) => sum + all[moves[i]!]!.cost, 0),
  error: core.reduce((sum, { moves: all }, i) => sum + all[moves[i]!]!.error, 0),
})

test('it is the best of all changes of at most two items that fit, or nothing where none is better', () => {
  fc.assert(
    fc.property(task, ({ core, moves, slack, noise }) => {
      const now = total(core, moves)
      const all = core.reduce<number[][]>(
        (lists, { moves: own }) => lists.flatMap((l) => own.map((_, i) => [...l, i])),
        [[]],
      )
      const best = all
        .filter((other) => other.filter((move, i) => move !== moves[i]).length <= 2)
        .map((other) => total(core, other))
        .filter(({ cost }) => cost <= now.cost + slack)
        .reduce((a, b) => (b.error < a.error || (b.error === a.error && b.cost < a.cost) ? b : a))
      const after = exchange({ core, moves, slack, noise })
      expect(after ? total(core, after) : now).toEqual(best)
      if (after) expect(after).not.toEqual(moves)
    }),
    { numRuns: 1000 },
  )
})
test('bytes that one item gives up pay for another', () => {
  const core = [
    item(0, [
      [0, 0],
      [-5, 1],
    ]),
    item(1, [
      [0, 0],
      [7, -3],
    ]),
  ]
  expect(exchange({ core, moves: [0, 0], slack: 2, noise: 0 })).toEqual([1, 1])
  expect(exchange({ core, moves: [0, 0], slack: 1, noise: 0 })).toBeUndefined()
})
test('a gain that can be rounding is none', () => {
  const core = [
    item(0, [
      [0, 0],
      [0, -1e-9],
    ]),
  ]
  expect(exchange({ core, moves: [0], slack: 0, noise: 1e-8 })).toBeUndefined()
  expect(exchange({ core, moves: [0], slack: 0, noise: 1e-10 })).toEqual([1])
})
