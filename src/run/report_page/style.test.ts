import { describe, expect, test } from 'vitest'
import { HEAT_LEVELS } from './heat_map.ts'
import { dark, light, type Palette, style } from './style.ts'

/** Relative luminance, WCAG 2.2. */
function luminance(colour: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const value = Number.parseInt(colour.slice(at, at + 2), 16) / 255
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!
}
function contrast(a: string, b: string): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y)
  return (high! + 0.05) / (low! + 0.05)
}

test('the contrast of known pairs', () => {
  expect(contrast('#000000', '#ffffff')).toBeCloseTo(21, 10)
  // The grey that just passes on white.
  expect(contrast('#767676', '#ffffff')).toBeCloseTo(4.54, 2)
})
describe.each<[string, Palette]>([
  ['light', light],
  ['dark', dark],
])('%s', (_, palette) => {
  test('all text has the contrast of WCAG AA, 4.5, on what it stands on', () => {
    const pairs = [palette.surface, palette.page].flatMap((back) =>
      [palette.text, palette.muted, palette.accent, palette.warm].map((front) => [front, back] as const),
    )
    const cells = palette.heat.map((back, i) => [palette.heatText[i]!, back] as const)
    for (const [front, back] of [...pairs, [palette.text, palette.mark] as const, ...cells])
      expect(contrast(front, back), `${front} on ${back}`).toBeGreaterThanOrEqual(4.5)
  })
  test('bars, lines and marks have the contrast of AA for graphics, 3', () => {
    for (const front of [palette.accent, palette.warm, palette.muted])
      expect(contrast(front, palette.surface)).toBeGreaterThanOrEqual(3)
  })
  test('the heat map runs from the surface away, by brightness alone', () => {
    expect(palette.heat).toHaveLength(HEAT_LEVELS)
    expect(palette.heatText).toHaveLength(HEAT_LEVELS)
    const distances = palette.heat.map((colour) => contrast(colour, palette.surface))
    for (const [i, distance] of distances.entries())
      if (i > 0) expect(distance, palette.heat[i]).toBeGreaterThan(1.1 * distances[i - 1]!)
  })
})
test('the style sheet loads nothing and is one element', () => {
  expect(style).not.toMatch(/url\(|@import|<|expression|https?:/)
  expect(style).toContain('prefers-color-scheme:dark')
})
