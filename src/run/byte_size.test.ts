import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseSize, sizeText } from './byte_size.ts'

test.each([
  ['1', 1],
  ['17B', 17],
  ['600MB', 600e6],
  ['600 MB', 600e6],
  ['2kB', 2000],
  ['2KB', 2000],
  ['512MiB', 512 * 2 ** 20],
  ['1.5GiB', 1.5 * 2 ** 30],
  ['0.3GB', 300_000_000],
  ['1TB', 1e12],
  // 102.4 and 0.5 bytes: to the nearest, a half goes up.
  ['0.1KiB', 102],
  ['0.0005kB', 1],
  ['9007199254740991', Number.MAX_SAFE_INTEGER],
])('%s is %d bytes', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes)
})
test.each([
  '',
  'MB',
  '0',
  '0.1B',
  '-1MB',
  '1e6',
  '600mb',
  '600Mb',
  '1iB',
  '600 M',
  '600MBx',
  '6.MB',
  '.6MB',
  '６００MB',
  '9007199254740992',
  '9999999999999999TB',
  '1'.repeat(10_000),
  '__proto__',
])('%s is no size', (text) => {
  expect(parseSize(text)).toBeUndefined()
})
test('what is written for a number of bytes is read as the same number', () => {
  const units = fc.constantFrom(1, 1e3, 1e6, 1e9, 2 ** 10, 2 ** 20, 2 ** 30)
  const sizes = fc.tuple(fc.integer({ min: 1, max: 8_000_000 }), units).map(([n, unit]) => n * unit)
  fc.assert(
    fc.property(
      fc.oneof(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), sizes),
      (bytes) => parseSize(sizeText(bytes)) === bytes,
    ),
  )
})
test('sizes are written in the unit that is shortest', () => {
  expect([600e6, 2 ** 20, 1536, 5e9].map(sizeText)).toEqual(['600MB', '1MiB', '1536B', '5GB'])
})
