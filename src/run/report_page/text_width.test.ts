import { expect, test } from 'vitest'
import { fitted, textWidth } from './text_width.ts'

test('a text is as wide as its characters', () => {
  expect(textWidth('')).toBe(0)
  expect(textWidth('mm')).toBe(24)
  expect(textWidth('ab')).toBe(2 * textWidth('a'))
  expect(textWidth('東')).toBeGreaterThan(textWidth('a'))
})
test('a text that does not fit is cut, and then does', () => {
  expect(fitted('compress', 80)).toBe('compress')
  for (const text of ['m'.repeat(40), '東京'.repeat(30), '\u{1f680}'.repeat(30), 'x'.repeat(1e6)]) {
    const cut = fitted(text, 80)
    expect(cut).toMatch(/.…$/u)
    expect(cut).not.toMatch(/[\ud800-\udbff]…/)
    expect(textWidth(cut)).toBeLessThanOrEqual(80)
  }
})
