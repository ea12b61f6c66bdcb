import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { type AllocationItem, allocate, type Choice } from './allocate.ts'

type Item = AllocationItem<number>

/** Errors are eighths, so that every sum of them is exact and equal errors are equal numbers. */
const choice = (largestCost: number) =>
  fc.record({
    cost: fc.integer({ min: 0, max: largestCost }),
    error: fc.integer({ min: 0, max: 200 }).map((eighths) => eighths / 8),
  })
const itemsOf = (largestCost: number, maxItems: number): fc.Arbitrary<Item[]> =>
  fc
    .array(fc.array(choice(largestCost), { minLength: 1, maxLength: 4 }), {
      minLength: 1,
      maxLength: maxItems,
    })
    .map((lists) =>
      lists.map((list, i) => ({ name: `w${i}`, choices: list.map((c, level) => ({ level, ...c })) })),
    )
/** Items, and a budget from the least that is possible to the most that is of use. */
const problem = (largestCost = 12, maxItems = 6) =>
  fc
    .tuple(itemsOf(largestCost, maxItems), fc.double({ min: 0, max: 1, noNaN: true }))
    .map(([items, share]) => {
      const total = (of: (costs: number[]) => number) =>
        items.reduce((sum, { choices }) => sum + of(choices.map(({ cost }) => cost)), 0)
      const [least, most] = [total((c) => Math.min(...c)), total((c) => Math.max(...c))]
      return { items, budget: Math.round(least + share * (most - least)) }
    })

/** Every combination; the best by error, then bytes. */
function bruteForce(items: readonly Item[], budget: number): { cost: number; error: number } {
  let all = [{ cost: 0, error: 0 }]
  for (const { choices } of items)
    all = all.flatMap((a) => choices.map((c) => ({ cost: a.cost + c.cost, error: a.error + c.error })))
  const fitting = all.filter(({ cost }) => cost <= budget)
  return fitting.reduce((a, b) => (b.error < a.error || (b.error === a.error && b.cost < a.cost) ? b : a))
}

/** A generator of numbers in [0, 1) for instances that are too large to be drawn one by one. */
function mulberry32(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Matrices of 50 kB to 3 MB at 8 bits; error falls by about four for a bit, with noise. */
function matrices(count: number, seed: number): Item[] {
  const random = mulberry32(seed)
  return Array.from({ length: count }, (_, i) => {
    const weights = 50_000 * 60 ** random()
    const scale = weights * Math.exp(6 * random() - 3)
    const choices = Array.from({ length: 4 + Math.floor(random() * 5) }, (_, bits) => ({
      level: bits + 1,
      cost: Math.round((weights * (bits + 1.25)) / 8),
      error: scale * 4 ** -(bits + 1) * Math.exp(0.6 * random()),
    }))
    return { name: `layers.${i}`, choices }
  })
}
const least = (items: readonly Item[]) =>
  items.reduce((sum, { choices }) => sum + Math.min(...choices.map(({ cost }) => cost)), 0)
const most = (items: readonly Item[]) =>
  items.reduce((sum, { choices }) => sum + Math.max(...choices.map(({ cost }) => cost)), 0)

describe('small instances', () => {
  test('the result is what trying every combination finds, in error and in bytes', () => {
    fc.assert(
      fc.property(problem(), ({ items, budget }) => {
        const { cost, error, optimal } = allocate({ items, budget })
        expect({ cost, error, optimal }).toEqual({ ...bruteForce(items, budget), optimal: true })
      }),
      { numRuns: 600 },
    )
  })
  test('as many buckets as the range of costs has values suffice for the best result', () => {
    fc.assert(
      fc.property(problem(6, 6), ({ items, budget }) => {
        const buckets = Math.max(2, most(items) - least(items) + 1)
        const { cost, error, optimal } = allocate({ items, budget, buckets })
        expect({ cost, error, optimal }).toEqual({ ...bruteForce(items, budget), optimal: true })
      }),
      { numRuns: 400 },
    )
  })
  test('cost and error are those of the chosen, and the bound is not above the optimum', () => {
    fc.assert(
      fc.property(problem(1000), fc.integer({ min: 2, max: 8 }), ({ items, budget }, buckets) => {
        const { chosen, cost, error, lowerBound, optimal } = allocate({ items, budget, buckets })
        const best = bruteForce(items, budget)
        expect(chosen).toHaveLength(items.length)
        for (const [i, c] of chosen.entries()) expect(items[i]!.choices).toContain(c)
        expect(cost).toBe(chosen.reduce((sum, c) => sum + c.cost, 0))
        expect(error).toBe(chosen.reduce((sum, c) => sum + c.error, 0))
        expect(cost).toBeLessThanOrEqual(budget)
        // The bound has a slope in it, which is rounded.
        expect(lowerBound).toBeLessThanOrEqual(best.error * (1 + 2 ** -40))
        if (optimal) expect(error).toBe(best.error)
      }),
      { numRuns: 600 },
    )
  })
  test('few buckets leave nothing that a change of one item or of two would improve', () => {
    fc.assert(
      fc.property(problem(1000, 12), ({ items, budget }) => {
        const { chosen, cost } = allocate({ items, budget, buckets: 2 })
        const steps = items.flatMap(({ choices }, item) =>
          choices.map((c) => ({
            item,
            cost: c.cost - chosen[item]!.cost,
            error: c.error - chosen[item]!.error,
          })),
        )
        const better = steps.some((a) =>
          steps.some((b) => a.item !== b.item && cost + a.cost + b.cost <= budget && a.error + b.error < 0),
        )
        expect(better).toBe(false)
      }),
      { numRuns: 300 },
    )
  })
  test('a larger budget never has more error', () => {
    fc.assert(
      fc.property(problem(40, 8), fc.integer({ min: 0, max: 60 }), ({ items, budget }, more) => {
        const small = allocate({ items, budget }).error
        expect(allocate({ items, budget: budget + more }).error).toBeLessThanOrEqual(small)
      }),
      { numRuns: 300 },
    )
  })
  test('no chosen choice is dominated, and of equal ones the earlier is chosen', () => {
    fc.assert(
      fc.property(problem(4), ({ items, budget }) => {
        for (const [i, c] of allocate({ items, budget }).chosen.entries())
          for (const other of items[i]!.choices) {
            const noWorse = other.cost <= c.cost && other.error <= c.error
            const same = other.cost === c.cost && other.error === c.error
            expect(noWorse && (!same || other.level < c.level)).toBe(false)
          }
      }),
      { numRuns: 300 },
    )
  })
  test('the example of the documentation', () => {
    const choices = (small: number, large: number) => [
      { level: 'q3', cost: 300, error: small },
      { level: 'q4', cost: 400, error: large },
    ]
    const items = [
      { name: 'up', choices: choices(5, 2) },
      { name: 'down', choices: choices(9, 3) },
    ]
    const { chosen, cost, error, lowerBound } = allocate({ items, budget: 750 })
    expect({ levels: chosen.map(({ level }) => level), cost, error }).toEqual({
      levels: ['q3', 'q4'],
      cost: 700,
      error: 8,
    })
    // The 50 bytes that are left would save 0.03 each where they could be spent.
    expect(lowerBound).toBeCloseTo(6.5, 12)
  })
  test('of items alike the earlier get more bytes', () => {
    const items = Array.from({ length: 5 }, (_, i) => ({
      name: `w${i}`,
      choices: [
        { level: 3, cost: 3, error: 4 },
        { level: 4, cost: 4, error: 1 },
      ],
    }))
    const { chosen } = allocate({ items, budget: 17 })
    expect(chosen.map(({ level }) => level)).toEqual([4, 4, 3, 3, 3])
  })
  test('nothing to choose costs what is fixed', () => {
    expect(allocate({ items: [], budget: 10, fixedCost: 10 })).toEqual({
      chosen: [],
      cost: 10,
      error: 0,
      lowerBound: 0,
      optimal: true,
    })
  })
})

describe('instances like models', () => {
  const shares = [0.02, 0.2, 0.5, 0.8, 0.97]
  test.each(shares)(
    '210 matrices at %f of the range spend 0.99 of the budget, and are best or within 0.001 of the bound',
    (share) => {
      for (const seed of [1, 2, 3]) {
        const items = matrices(210, seed)
        const budget = Math.round(least(items) + share * (most(items) - least(items)))
        const { cost, error, lowerBound, optimal } = allocate({ items, budget })
        expect(cost).toBeLessThanOrEqual(budget)
        expect(cost).toBeGreaterThan(0.99 * budget)
        expect(error).toBeGreaterThanOrEqual(lowerBound)
        // At 0.02 the items that can move are so few that the best allocation itself is further from the bound.
        expect(error <= 1.001 * lowerBound || (optimal && share === 0.02)).toBe(true)
      }
    },
  )
  test('thousands of items alike keep the budget and reach the bound', () => {
    const items = Array.from({ length: 3000 }, (_, i) => ({ ...matrices(1, 5)[0]!, name: `w${i}` }))
    const budget = Math.round(0.4 * most(items) + 0.6 * least(items))
    const { cost, error, lowerBound } = allocate({ items, budget, buckets: 64 })
    expect(cost).toBeLessThanOrEqual(budget)
    expect(error).toBeLessThanOrEqual(1.001 * lowerBound)
  })
  test('the order of the items changes neither a choice, nor the last bit of error and bound', () => {
    const random = mulberry32(9)
    for (const seed of [1, 2, 3, 4]) {
      const items = matrices(60, seed)
      const shuffled = items
        .map((item) => ({ item, key: random() }))
        .sort((a, b) => a.key - b.key)
        .map(({ item }) => item)
      for (const share of [0.1, 0.5]) {
        const budget = Math.round(least(items) + share * (most(items) - least(items)))
        const [a, b] = [items, shuffled].map((list) => allocate({ items: list, budget, buckets: 4 }))
        for (const [i, item] of shuffled.entries()) expect(b!.chosen[i]).toBe(a!.chosen[items.indexOf(item)])
        expect({ ...b, chosen: [] }).toEqual({ ...a, chosen: [] })
      }
    }
  })
  test('a bound on every level gives the allocation of the levels that remain', () => {
    const items = matrices(30, 4)
    const budget = Math.round((least(items) + most(items)) / 2)
    const never = Object.fromEntries(items.map(({ name }) => [name, { never: [2, 4] }]))
    const without = items.map((item) => ({
      ...item,
      choices: item.choices.filter(({ level }) => level !== 2 && level !== 4),
    }))
    expect(allocate({ items, budget, bounds: never })).toEqual(allocate({ items: without, budget }))
  })
  test('a forced level is kept, and fixed bytes lessen the budget by as much', () => {
    const items = matrices(30, 4)
    const budget = Math.round((least(items) + most(items)) / 2)
    const bounds = { 'layers.7': { only: [1] }, 'layers.8': { only: [3, 4], never: [4] } }
    const free = allocate({ items, budget, bounds })
    const fixed = allocate({ items, budget: budget + 12345, fixedCost: 12345, bounds })
    expect(free.chosen[7]!.level).toBe(1)
    expect(free.chosen[8]!.level).toBe(3)
    expect(fixed).toEqual({ ...free, cost: free.cost + 12345 })
  })
})

describe('what cannot be used', () => {
  const at = (cost: number, error: number): Choice<number>[] => [{ level: 1, cost, error }]
  const items = [
    { name: 'a', choices: at(70, 1) },
    { name: 'b', choices: at(80, 1) },
  ]
  test('a budget below the least possible is refused with the least possible', () => {
    expect(() => allocate({ items, budget: 159, fixedCost: 10 })).toThrow(
      expect.objectContaining({
        constructor: OptionError,
        code: 'PARE_E_BUDGET',
        message: expect.stringMatching(/least possible is 160 bytes .*got 159; raise it to 160/),
        facts: { budget: 159, least: 160, fixedCost: 10, items: 2 },
      }),
    )
    expect(allocate({ items, budget: 160, fixedCost: 10 }).cost).toBe(160)
  })
  test.each([
    ['a negative budget', { items, budget: -1 }, /budget must be a whole number/],
    ['a fraction of a byte', { items, budget: 200.5 }, /budget must be a whole number/],
    ['no buckets', { items, budget: 200, buckets: 1 }, /buckets must be/],
    [
      'a cost that is no number',
      { items: [{ name: 'a', choices: at(Number.NaN, 1) }], budget: 9 },
      /a, 1: cost/,
    ],
    [
      'an error that is no number',
      { items: [{ name: 'a', choices: at(1, Number.NaN) }], budget: 9 },
      /a, 1: error/,
    ],
    ['a negative error', { items: [{ name: 'a', choices: at(1, -1) }], budget: 9 }, /a, 1: error/],
    [
      'errors beyond numbers',
      { items: items.map((i) => ({ ...i, choices: at(1, 1e308) })), budget: 9 },
      /scale/,
    ],
    [
      'costs beyond numbers',
      { items: items.map((i) => ({ ...i, choices: at(2 ** 52, 1) })), budget: 9 },
      /2\^53/,
    ],
    ['two items of a name', { items: [items[0]!, items[0]!], budget: 200 }, /a: two items/],
    ['no choices', { items: [{ name: 'a', choices: [] }], budget: 200 }, /a: needs a choice/],
    ['bounds of no item', { items, budget: 200, bounds: { c: {} } }, /no item is named c/],
    [
      'a level of no choice',
      { items, budget: 200, bounds: { a: { only: [2] } } },
      /level 2, which is no choice/,
    ],
    ['no level left', { items, budget: 200, bounds: { a: { never: [1] } } }, /a: needs a choice/],
  ])('%s is refused', (_, options, message) => {
    expect(() => allocate<number>(options)).toThrow(expect.objectContaining({ constructor: OptionError }))
    expect(() => allocate<number>(options)).toThrow(message)
  })
  test('an item may have the name of a property that every object has', () => {
    expect(allocate({ items: [{ name: 'constructor', choices: at(1, 1) }], budget: 1 }).cost).toBe(1)
  })
})
