import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { warmedDecay } from './averages.ts'
import * as schedules from './schedules.ts'
import {
  asSchedule,
  constant,
  cosine,
  exponential,
  linear,
  milestones,
  type Schedule,
  scaled,
  sequence,
  stairs,
  warmUp,
} from './schedules.ts'
import { cubicSparsity } from './sparsity_schedule.ts'

const values = (schedule: Schedule, count: number) =>
  Array.from({ length: count }, (_, step) => schedule(step))

test.each<[name: string, schedule: Schedule, want: number[]]>([
  ['constant', constant(0.25), [0.25, 0.25, 0.25]],
  ['linear', linear({ from: 1, to: 0.5, steps: 4 }), [1, 0.875, 0.75, 0.625, 0.5, 0.5]],
  ['linear upwards', linear({ from: 0, to: 1, steps: 2 }), [0, 0.5, 1, 1]],
  ['milestones', milestones({ from: 8, milestones: [1, 3], gamma: 0.5 }), [8, 4, 4, 2, 2]],
  ['stairs', stairs({ from: 8, every: 2, gamma: 0.5 }), [8, 8, 4, 4, 2]],
  ['exponential with a floor', exponential({ from: 8, gamma: 0.5, floor: 3 }), [8, 4, 3, 3]],
  ['warm-up', warmUp({ steps: 4 }, linear({ from: 1, steps: 2 })), [0, 0.25, 0.5, 0.75, 1, 0.5, 0, 0]],
  ['warm-up from above', warmUp({ steps: 2, from: 3 }, constant(1)), [3, 2, 1, 1]],
  ['no warm-up', warmUp({ steps: 0 }, constant(1)), [1, 1]],
  [
    'sequence',
    sequence([{ schedule: constant(4), steps: 2 }], linear({ from: 2, steps: 2 })),
    [4, 4, 2, 1, 0, 0],
  ],
  ['scaled', scaled(stairs({ from: 8, every: 1, gamma: 0.5 }), 0.25), [2, 1, 0.5]],
  ['a number', asSchedule(3), [3, 3]],
])('%s follows its definition', (_, schedule, want) => {
  expect(values(schedule, want.length)).toEqual(want)
})
test('cosine falls slowly, then fast, then slowly', () => {
  const found = values(cosine({ from: 1, to: 0.5, steps: 4 }), 6)
  const want = [1, 0.75 + Math.SQRT1_2 / 4, 0.75, 0.75 - Math.SQRT1_2 / 4, 0.5, 0.5]
  for (const [step, value] of found.entries()) expect(value).toBeCloseTo(want[step]!, 15)
})

describe('properties', () => {
  const value = fc.double({ min: -1e3, max: 1e3, noNaN: true })
  const steps = fc.integer({ min: 1, max: 200 })
  test('ramps meet both ends exactly, stay at the second, and never leave the way between', () => {
    fc.assert(
      fc.property(value, value, steps, fc.constantFrom(linear, cosine), (from, to, steps, ramp) => {
        const found = values(ramp({ from, to, steps }), steps + 3)
        expect([found[0], ...found.slice(steps)]).toEqual([from, to, to, to])
        const way = found.map((x) => (to >= from ? x : -x))
        // A rounding of the difference and one of the sum.
        const slack = 4 * 2 ** -53 * Math.max(Math.abs(from), Math.abs(to))
        for (let i = 1; i < way.length; i++) expect(way[i]!).toBeGreaterThanOrEqual(way[i - 1]! - slack)
      }),
    )
  })
  test('a warm-up ends where its schedule begins, and shifts all of it', () => {
    fc.assert(
      fc.property(value, steps, steps, (peak, up, down) => {
        const then = cosine({ from: peak, to: 0, steps: down })
        const whole = warmUp({ steps: up }, then)
        expect(values(whole, up + down + 2).slice(up)).toEqual(values(then, down + 2))
        expect(whole(0)).toBe(0)
      }),
    )
  })
  test('what decays never rises', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 10, noNaN: true }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        (from, gamma) => {
          for (const schedule of [
            exponential({ from, gamma, floor: from / 3 }),
            stairs({ from, gamma, every: 3 }),
            milestones({ from, gamma, milestones: [2, 5, 11] }),
          ]) {
            const found = values(schedule, 20)
            for (let i = 1; i < 20; i++) expect(found[i]!).toBeLessThanOrEqual(found[i - 1]!)
          }
        },
      ),
    )
  })
  test('a value depends on the number of the step alone', () => {
    const schedule = warmUp(
      { steps: 3 },
      sequence([{ schedule: cosine({ from: 1, steps: 5 }), steps: 5 }], constant(0.1)),
    )
    const forwards = values(schedule, 12)
    const backwards = Array.from({ length: 12 }, (_, i) => schedule(11 - i)).reverse()
    expect(backwards).toEqual(forwards)
  })
})
test.each([
  () => constant(Number.NaN),
  () => linear({ from: 1, steps: 0 }),
  () => linear({ from: 1, steps: 1.5 }),
  () => cosine({ from: 1, to: Number.POSITIVE_INFINITY, steps: 3 }),
  () => milestones({ from: 1, milestones: [3, 3] }),
  () => milestones({ from: 1, milestones: [0] }),
  () => stairs({ from: 1, every: 0 }),
  () => stairs({ from: 1, every: 2, gamma: 0 }),
  () => exponential({ from: 1, gamma: 1.1 }),
  () => exponential({ from: 1, gamma: 0.5, floor: 2 }),
  () => warmUp({ steps: -1 }, constant(1)),
  () => sequence([{ schedule: constant(1), steps: 0 }], constant(1)),
  () => constant(1)(-1),
  () => linear({ from: 1, steps: 4 })(0.5),
])('%s is refused', (make) => {
  expect(make).toThrow(OptionError)
})
test.each(['schedules.ts', 'sparsity_schedule.ts', 'averages.ts'])(
  'the examples of %s give what they say',
  (file) => {
    const text = readFileSync(new URL(file, import.meta.url), 'utf8')
    const examples = [...text.matchAll(/@example (.+) \/\/ (.+)/g)]
    const known = { ...schedules, cubicSparsity, warmedDecay }
    for (const [, call, result] of examples) {
      const found = new Function(...Object.keys(known), `return ${call}`)(...Object.values(known))
      expect(found, call).toBeCloseTo(Number(result), 12)
    }
    expect(examples.length).toBeGreaterThan(0)
  },
)
