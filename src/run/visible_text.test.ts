import { expect, test } from 'vitest'
import { shortened, visible, visibleLine } from './visible_text.ts'

test('characters without a shape are shown by their number, and lone surrogates too', () => {
  expect(visible('a\u0000b\u001b[31m\u0085\u200b\u202e\u2028\ufeff\u{e0041}\ud800')).toBe(
    'a\\u{0}b\\u{1b}[31m\\u{85}\\u{200b}\\u{202e}\\u{2028}\\u{feff}\\u{e0041}\\u{d800}',
  )
})
test('line ends, tabs, joiners and whole characters stay', () => {
  const text = 'a\n\tb \u{1f469}\u200d\u{1f680} عربي 東京'
  expect(visible(text)).toBe(text)
  expect(visibleLine('a\n\tb')).toBe('a\\u{a}\\u{9}b')
})
test('a cut never halves a character', () => {
  expect(shortened('abc', 3)).toBe('abc')
  expect(shortened('abcd', 3)).toBe('abc…')
  expect(shortened('ab\u{1f680}d', 3)).toBe('ab…')
})
