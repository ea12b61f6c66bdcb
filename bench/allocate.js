/**
 * Times the allocation of levels, and prints JSON, a line for each instance:
 *
 *   node bench/allocate.js [NAME]
 *
 * `gap` is how far the error is above the Lagrangian bound, as a share of it; `used` is the share of the budget.
 */
import { allocate } from '../dist/search/allocate.js'

/** A generator of numbers in [0, 1). */
function mulberry32(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const named = (lists) => lists.map((choices, i) => ({ name: `w${i}`, choices }))
const list = (length, of) => Array.from({ length }, (_, i) => of(i))

/** 4 to 8 levels of matrices from 50 kB to 3 MB at 8 bits; the error falls by about four for a bit. */
function matrices(count, random) {
  return list(count, () => {
    const weights = 50_000 * 60 ** random()
    const scale = weights * Math.exp(6 * random() - 3)
    return list(4 + Math.floor(random() * 5), (bits) => ({
      level: bits + 1,
      cost: Math.round((weights * (bits + 1.25)) / 8),
      error: scale * 4 ** -(bits + 1) * Math.exp(0.6 * random()),
    }))
  })
}

/** Bytes and errors that have nothing to do with each other, or whose sum is the same everywhere. */
function drawn(count, levels, random, errorOf) {
  return list(count, () =>
    list(levels, (level) => {
      const cost = Math.floor(random() * 3e6) + 5e4
      return { level, cost, error: errorOf(cost) }
    }),
  )
}

/** Ranks of matrices: many levels, evenly spaced, with a smooth error. */
function ranks(count, levels, random) {
  return list(count, () => {
    const [scale, width] = [random() + 0.1, 100 + Math.floor(1000 * random())]
    return list(levels, (rank) => ({
      level: rank,
      cost: width * (rank + 1),
      error: scale * width * Math.exp((-5 * rank) / levels),
    }))
  })
}

const instances = {
  'matrices 210': (random) => matrices(210, random),
  'matrices 10000': (random) => matrices(10_000, random),
  'experts 10000, all alike': (random) => Array(10_000).fill(matrices(1, random)[0]),
  'experts 10000 of 30 kinds': (random) => {
    const kinds = matrices(30, random)
    return list(10_000, (i) => kinds[i % 30])
  },
  'random 10000 x 8': (random) => drawn(10_000, 8, random, random),
  'correlated 210 x 8': (random) => drawn(210, 8, random, (cost) => 4e6 - cost),
  'correlated 10000 x 8': (random) => drawn(10_000, 8, random, (cost) => 4e6 - cost),
  'ranks 200 x 200': (random) => ranks(200, 200, random),
  'ranks 300 x 1000': (random) => ranks(300, 1000, random),
}

for (const [name, make] of Object.entries(instances)) {
  if (!name.includes(process.argv[2] ?? '')) continue
  const items = named(make(mulberry32(1)))
  const total = (of) => items.reduce((sum, { choices }) => sum + of(...choices.map(({ cost }) => cost)), 0)
  const [least, most] = [total(Math.min), total(Math.max)]
  for (const share of [0.02, 0.3, 0.7]) {
    const budget = Math.round(least + share * (most - least))
    const start = performance.now()
    const { cost, error, lowerBound, optimal } = allocate({ items, budget })
    const milliseconds = Math.round(performance.now() - start)
    const [gap, used] = [error / lowerBound - 1, cost / budget]
    console.log(JSON.stringify({ name, share, milliseconds, gap, used, optimal }))
  }
}
