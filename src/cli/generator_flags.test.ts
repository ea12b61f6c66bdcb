import { expect, test } from 'vitest'
import { FormatError, OptionError } from '../tensor/errors.ts'
import { namedByFlag } from './generator_flags.ts'

const about = (option: string, message: string) =>
  new OptionError(message, { code: 'PARE_E_X', facts: { option } })

test('errors about options name the flag that was typed', () => {
  for (const [option, flag] of [
    ['topP', '--top-p'],
    ['cacheBytes', '--cache-memory'],
    ['maxQueue', '--max-queue'],
    ['host', '--host'],
  ] as const)
    expect(namedByFlag(about(option, `${option}: needs more, got less`))).toMatchObject({
      message: `${flag}: needs more, got less`,
      code: 'PARE_E_X',
      facts: { option },
    })
})
test('other errors stay as they are', () => {
  for (const error of [new FormatError('topP: x'), new OptionError('topP: x'), about('topP', 'a topP: x'), 7])
    expect(namedByFlag(error)).toBe(error)
})
