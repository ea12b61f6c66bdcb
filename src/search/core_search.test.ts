import { expect, test } from 'vitest'
import { randomStream } from '../tensor/index.ts'
import { searchCore } from './core_search.ts'
import { menuOf } from './menu.ts'
import { coreOf, relax } from './relaxation.ts'

/** `count` menus of 4 choices, costs up to 30 bytes, errors in quarters. */
function menus(count: number, name: string) {
  const numbers = [
    ...randomStream(3, name)
      .uniform([count * 8])
      .toArray(),
  ].map(Number)
  return Array.from({ length: count }, (_, item) => {
    const part = numbers.slice(item * 8, item * 8 + 8)
    const choices = [0, 1, 2, 3].map((i) => ({
      cost: Math.floor(30 * part[i]!),
      error: Math.floor(400 * part[4 + i]!) / 4,
    }))
    return menuOf(item, choices, [0, 1, 2, 3])
  })
}

/** Least error for every number of bytes up to `room`: a table over items and bytes. */
function table(list: ReturnType<typeof menus>, room: number): number {
  let best = Array<number>(room + 1).fill(0)
  for (const { costs, errors } of list)
    best = best.map((_, bytes) =>
      Math.min(
        ...costs.map((c, i) =>
          c - costs[0]! <= bytes ? errors[i]! + best[bytes - c + costs[0]!]! : Infinity,
        ),
      ),
    )
  return best[room]!
}

/** The whole of the menus as a core, with the allocation of the relaxation as what is known. */
function search(list: ReturnType<typeof menus>, room: number, buckets: number) {
  const relaxation = relax(list, room)
  const { price, slack, places } = relaxation
  const core = coreOf(list, relaxation, Number.POSITIVE_INFINITY)
  const result = searchCore({ core, price, slack, known: { cost: 0, error: 0 }, noise: 1e-9, buckets })
  const start = list.reduce((sum, { errors }, i) => sum + errors[places[i]!]!, 0)
  const total = (of: 'cost' | 'error') =>
    core.reduce((sum, { moves }, i) => sum + moves[result.moves?.[i] ?? 0]![of], 0)
  return { ...result, start, slack, cost: total('cost'), error: start + total('error') }
}

test.each([7, 40, 150])('%i items have the error of a table over every byte', (count) => {
  const list = menus(count, 'table')
  for (const room of [count, 3 * count, 6 * count]) {
    const { error, cost, slack, optimal } = search(list, room, 4096)
    expect({ error, optimal }).toEqual({ error: table(list, room), optimal: true })
    expect(cost).toBeLessThanOrEqual(slack)
  }
})
test('few buckets cost some error, keep the budget, and are not taken for optimal', () => {
  const list = menus(150, 'thin')
  const best = table(list, 400)
  const [few, more] = [4, 64].map((buckets) => search(list, 400, buckets))
  for (const { cost, slack, error, start } of [few!, more!]) {
    expect(cost).toBeLessThanOrEqual(slack)
    expect(error).toBeGreaterThanOrEqual(best)
    expect(error).toBeLessThanOrEqual(start)
  }
  expect(few!.optimal).toBe(false)
  expect(more!.error).toBeLessThanOrEqual(few!.error)
})
test('what is known already and cannot be improved stays', () => {
  const list = menus(40, 'known')
  const relaxation = relax(list, 120)
  const core = coreOf(list, relaxation, Number.POSITIVE_INFINITY)
  const { price, slack } = relaxation
  const first = search(list, 120, 4096)
  const known = { cost: first.cost, error: first.error - first.start }
  expect(searchCore({ core, price, slack, known, noise: 1e-9, buckets: 4096 })).toEqual({ optimal: true })
})
