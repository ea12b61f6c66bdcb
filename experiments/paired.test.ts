import { expect, test } from 'vitest'
import { foundOf, paired } from './paired.ts'

const runs = (...scores: number[]) => scores.map((score, seed) => ({ seed, score }))

test('only seeds that both have count', () => {
  // Differences 2 and 4; the third seed of the first has no partner.
  const pair = paired(runs(3, 6, 100), runs(1, 2))!
  expect(pair).toMatchObject({ better: 4.5, worse: 1.5, difference: { mean: 3, seeds: 2 } })
  expect(pair.difference.spread).toBeCloseTo(Math.SQRT2, 12)
  expect(paired(runs(1), [{ seed: 7, score: 1 }])).toBeUndefined()
})
test('what was found says both means, the difference in the direction that is better, its spread and the seeds', () => {
  const show = (score: number) => score.toFixed(1)
  expect(foundOf(paired(runs(3, 6), runs(1, 2)), { show, unit: 'points', digits: 1 })).toBe(
    '4.5 against 1.5, by 3.0 ± 1.4 points over 2 seeds',
  )
  expect(foundOf(paired(runs(3), runs(4)), { show, unit: 'nats', digits: 2, sign: -1 })).toBe(
    '3.0 against 4.0, by 1.00 nats over 1 seed',
  )
  expect(foundOf(undefined, { show, unit: 'nats', digits: 2 })).toBe('no seed that both have')
})
