import { expect, test } from 'vitest'
import { HEAT_LEVELS, heatScale, shortNames } from './heat_map.ts'

const errors = (...decibels: number[]) => decibels.map((value) => 10 ** (value / 10))

test('classes have round borders around all errors, and the levels rise over all colours', () => {
  const scale = heatScale([...errors(-39.8, -9.8, -20), 0, Number.NaN])
  expect(scale.borders).toEqual([-40, -35, -30, -25, -20, -15, -10, -5])
  expect(heatScale(errors(-20.6, -19.3)).borders).toEqual([
    -20.6, -20.4, -20.2, -20, -19.8, -19.6, -19.4, -19.2,
  ])
  const levels = [-39.8, -33, -28, -23, -18, -13, -9.8].map(scale.level)
  expect(levels).toEqual([0, 1, 3, 4, 5, 7, HEAT_LEVELS - 1])
  expect([scale.level(-99), scale.level(99)]).toEqual([0, HEAT_LEVELS - 1])
})
test('one error, or none, is a scale too', () => {
  for (const values of [errors(-20), errors(-20, -20), [], [0]]) {
    const { borders, level } = heatScale(values)
    expect(borders.length).toBeGreaterThanOrEqual(2)
    expect(level(-20)).toBeGreaterThanOrEqual(0)
    expect(level(-20)).toBeLessThan(HEAT_LEVELS)
  }
})
test('kinds are called by their last part where that is enough', () => {
  expect(shortNames(['self_attn.q_proj', 'mlp.up', 'expert.up'])).toEqual(['q_proj', 'mlp.up', 'expert.up'])
})
