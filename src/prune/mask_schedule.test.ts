import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { dropFraction, type MaskSchedule, maskSchedule } from './mask_schedule.ts'

const updatesOf = (schedule: MaskSchedule, steps = 30) => {
  const { updates } = maskSchedule(schedule)
  return Array.from({ length: steps }, (_, step) => step).filter(updates)
}

test('schedule table: s_i=0, s_f=0.875, begin=0, end=1000, power 3', () => {
  const { sparsity } = maskSchedule({ kind: 'polynomial', convention: 'gmp', end: 1000 })
  expect([0, 250, 500, 1000, 5000].map((step) => sparsity(step, 0.875))).toEqual([
    0,
    0.875 * (1 - 0.421875),
    0.765625,
    0.875,
    0.875,
  ])
})
test('polynomial start 0, end 20, target 0.5 gives exactly 0.4375 at step 9, and 0.5 from 19 on', () => {
  const { sparsity } = maskSchedule({ kind: 'polynomial', end: 20 })
  expect(sparsity(9, 0.5)).toBe(0.4375)
  for (const step of [19, 20, 100]) expect(sparsity(step, 0.5)).toBe(0.5)
})
test('a curve ends at the target of each tensor, and what stays dense does not begin sparse', () => {
  const { sparsity } = maskSchedule({ kind: 'polynomial', convention: 'gmp', from: 0.25, end: 4 })
  expect([0, 0.125, 0.75].map((target) => sparsity(0, target))).toEqual([0, 0.125, 0.25])
  expect([0, 0.125, 0.75].map((target) => sparsity(4, target))).toEqual([0, 0.125, 0.75])
})
test('updates stand on the grid of their convention, and the last one reaches the target', () => {
  expect(updatesOf({ kind: 'polynomial', begin: 3, end: 14, every: 5, convention: 'gmp' })).toEqual([
    3, 8, 13, 14,
  ])
  expect(updatesOf({ kind: 'polynomial', begin: 3, end: 13, every: 5 })).toEqual([5, 10, 13])
  expect(updatesOf({ kind: 'polynomial', begin: 3, end: 15, every: 5 })).toEqual([5, 10, 15])
  // The curve is a step ahead: the target is met at 15.
  expect(updatesOf({ kind: 'polynomial', begin: 3, end: 16, every: 5 })).toEqual([5, 10, 15])
  expect(updatesOf({ kind: 'polynomial', begin: 3, end: 9, every: 100 })).toEqual([9])
})
test('one-shot, periodic and no schedule have all of the sparsity at once', () => {
  expect(updatesOf({ kind: 'oneShot', at: 7 })).toEqual([7])
  expect(updatesOf({ kind: 'periodic', begin: 4, end: 20, every: 8 })).toEqual([8, 16])
  expect(updatesOf({ kind: 'none' })).toEqual([])
  for (const schedule of [{ kind: 'none' }, { kind: 'oneShot', at: 7 }, { kind: 'periodic' }] as const)
    expect(maskSchedule(schedule).sparsity(3, 0.75)).toBe(0.75)
})
test('the fraction that drops is half a cosine down to 0', () => {
  const drop = dropFraction({ from: 0.5, steps: 100 })
  expect([0, 25, 50, 100, 200].map(drop)).toEqual([
    0.5,
    expect.closeTo(0.25 * (1 + Math.SQRT1_2), 12),
    expect.closeTo(0.25, 12),
    0,
    0,
  ])
  expect(dropFraction({ steps: 10 })(0)).toBe(0.1)
})
test('numbers out of their range are refused', () => {
  for (const schedule of [
    { kind: 'oneShot', at: -1 },
    { kind: 'periodic', every: 0 },
    { kind: 'periodic', begin: 5, end: 4 },
    { kind: 'polynomial', begin: 5, end: 5 },
    { kind: 'polynomial', end: 5, from: 0.5 },
    { kind: 'sometimes' },
  ])
    expect(() => maskSchedule(schedule as MaskSchedule)).toThrow(OptionError)
  expect(() => dropFraction({ from: 2, steps: 5 })).toThrow(OptionError)
})
