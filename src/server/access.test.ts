import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { hostCheck, keyCheck } from './access.ts'

test('an empty host is refused, since Node would listen on all addresses', () => {
  expect(() => hostCheck({ host: '', allowed: [] })).toThrow(/^host: is empty; name an address/)
})
test.each(['', 'http://models.lan', 'models.lan:80', 'models.lan/v1', 'a b', '[::1', 'me@models.lan'])(
  'a name that no Host header holds cannot be allowed: %j',
  (name) => {
    expect(() => hostCheck({ host: '127.0.0.1', allowed: ['ok.lan', name] })).toThrow(OptionError)
  },
)
test('names, addresses and * can be allowed', () => {
  const check = hostCheck({
    host: '127.0.0.1',
    allowed: ['models.lan', 'müller.example', '[fe80::1]', '10.0.0.1'],
  })
  for (const header of ['models.lan:80', '[fe80::1]:8080', '10.0.0.1'])
    expect(() => check(header)).not.toThrow()
  expect(() => hostCheck({ host: '127.0.0.1', allowed: ['*'] })('any.example')).not.toThrow()
})
test.each(['', ' a', 'a ', 'a\n', 'ü', 'a\tb', '\u0000'])(
  'a key that clients cannot send alike is refused: %j',
  (key) => {
    expect(() => keyCheck(key)).toThrow(expect.objectContaining({ code: 'PARE_E_API_KEY' }))
  },
)
test('a key of any ASCII letters, digits and marks is one', () => {
  for (const key of ['a', '"q", \\x', 'Bearer x', 'sk-~!@#$%^&*()', 'two words', 'x'.repeat(5000)]) {
    expect(() => keyCheck(key)(`Bearer ${key}`)).not.toThrow()
    expect(() => keyCheck(key)(`Bearer ${key}x`)).toThrow(/is not that of this server/)
  }
})
