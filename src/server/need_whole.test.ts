import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { needWhole } from './need_whole.ts'

test('whole numbers from the least to the most pass, ends included', () => {
  for (const value of [1, 7, 65_535]) expect(() => needWhole('port', value, 1, 65_535)).not.toThrow()
})
test.each([0, 65_536, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '8' as unknown as number])(
  '%s is refused with the name of the option',
  (value) => {
    expect(() => needWhole('port', value, 1, 65_535)).toThrow(OptionError)
    expect(() => needWhole('port', value, 1, 65_535)).toThrow(
      `port: needs a whole number from 1 to 65535, got ${value}`,
    )
  },
)
