import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FormatError } from '../tensor/errors.ts'
import { strictJson } from './json.ts'

test('any JSON value comes back as it was', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      const text = JSON.stringify(value)
      expect(strictJson('x', text)).toEqual(JSON.parse(text))
    }),
  )
})
test.each([
  '{"a":1,"a":2}',
  '{"a":1,"\\u0061":2}',
  '{"x":{"a":[1,{"b":1}],"b":{},"a":2}}',
  '{"":1,"":2}',
  '{"a\\"b":1,"a\\"b":2}',
  '{"__proto__":1,"__proto__":2}',
])('a repeated key is refused: %s', (text) => {
  expect(() => strictJson('x', text)).toThrow(/stands twice/)
})
test('equal keys in different objects, and strings equal to keys, are allowed', () => {
  expect(strictJson('x', '{"a":{"a":"a"},"b":["a","a",{"a":"}"}]}')).toEqual({
    a: { a: 'a' },
    b: ['a', 'a', { a: '}' }],
  })
})
test('nesting past the limit is refused, a long flat text is not', () => {
  expect(() => strictJson('x', '['.repeat(1e6))).toThrow(/deeper than 64/)
  expect(strictJson('x', `[${'[],'.repeat(1000)}1]`)).toHaveLength(1001)
})
test('more keys in one object than may be are refused, in several objects they are not', () => {
  const limits = { keys: 2 }
  expect(strictJson('x', '[{"a":1,"b":{"c":1,"d":1}},{"a":1}]', limits)).toHaveLength(2)
  expect(() => strictJson('x', '{"a":1,"b":{},"c":1}', limits)).toThrow(/more than 2 keys in one object/)
})
test.each(['', '{', '{"a":1,}', '"a', '{"a" 1}', 'nul', '{"\\x":1}', '{"a":1}}'])(
  'broken text is refused: %s',
  (text) => {
    expect(() => strictJson('x', text)).toThrow(FormatError)
  },
)
test('text that would become many times as much memory is refused, a large vocabulary is read', () => {
  const lists = `[${Array(2_000_000).fill('[]').join()}]`
  expect(() => strictJson('x', lists)).toThrow(/bytes of memory/)
  const words = Object.fromEntries(Array.from({ length: 150_000 }, (_, i) => [`word${i}`, i]))
  expect(strictJson('x', JSON.stringify({ words }))).toEqual({ words })
})
