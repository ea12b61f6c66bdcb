import { expect, test } from 'vitest'
import { OptionError, QualityError } from '../tensor/errors.ts'
import { checkLimits, checkQuality } from './limits.ts'

test('a limit to the KL needs an evaluation', () => {
  expect(() => checkLimits({ maxKl: 1 }, false)).toThrow(OptionError)
})
test('the gate lets pass what is at the limit, and ends with exit code 4 above it', () => {
  expect(() => checkQuality({ maxKl: 0.5 }, { kl: 0.5, output: 'o' })).not.toThrow()
  expect(() => checkQuality({}, { kl: 9, output: 'o' })).not.toThrow()
  expect(() => checkQuality({ maxKl: 0.5 }, { kl: 0.51, output: 'o' })).toThrow(QualityError)
})
