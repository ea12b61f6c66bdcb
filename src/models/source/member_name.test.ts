import { isAbsolute, join, relative } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { checkMemberName, checkTogether, unsafeNameReason } from './member_name.ts'

test.each([
  ['', 'empty'],
  ['/etc/passwd', 'absolute'],
  ['../up.gguf', '..'],
  ['a/../../b', '..'],
  ['a/./b', '"."'],
  ['a//b', 'empty'],
  ['a/', 'empty'],
  ['a\\b', 'backslash'],
  ['C:/x', 'reserve'],
  ['a\0b', 'control'],
  ['a\u001b[2Jb', 'control'],
  ['con', 'device'],
  ['a/NUL.gguf', 'device'],
  ['COM1.txt', 'device'],
  ['a./b', 'dot'],
  ['a /b', 'space'],
  ['\ud800', 'Unicode'],
  [`${'x'.repeat(256)}`, '255'],
  [`${'x/'.repeat(600)}y`, '1024'],
])('the name %j is refused and the reason says %j', (name, reason) => {
  expect(unsafeNameReason(name)).toContain(reason)
  expect(() => checkMemberName(name, 'a.whl')).toThrow(FormatError)
})
test.each([
  'a',
  'pkg/model.Q4_0.gguf',
  'pkg-1.0.dist-info/licenses/LICENSE',
  'консоль/模型.gguf',
  '.hidden/x',
  'console.js',
])('the plain name %j is taken', (name) => {
  expect(unsafeNameReason(name)).toBeUndefined()
})
test('whatever name is taken stays below the folder that it is joined to', () => {
  const part = fc.oneof(fc.constantFrom('..', '.', '', 'a', 'b.gguf', 'C:', '\\'), fc.string())
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
      const name = parts.join('/')
      if (unsafeNameReason(name) !== undefined) return
      const inside = relative('/some/folder', join('/some/folder', ...name.split('/')))
      expect(inside).toBe(name)
      expect(isAbsolute(inside)).toBe(false)
    }),
  )
})
test('names that fall together where case or Unicode form do not count are refused', () => {
  expect(() => checkTogether(['a/Model.gguf', 'a/model.gguf'], 'x')).toThrow(/one file on some systems/)
  expect(() => checkTogether(['\u00e9', 'e\u0301'], 'x')).toThrow(/one file on some systems/)
  expect(() => checkTogether(['a/b', 'a/c', 'b'], 'x')).not.toThrow()
})
test('a name that is a file and a folder at once is refused', () => {
  expect(() => checkTogether(['a/b', 'A'], 'x')).toThrow(/file and the folder/)
})
