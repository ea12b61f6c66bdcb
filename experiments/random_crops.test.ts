import { expect, test } from 'vitest'
import { batchOf, randomCrops, scaled, windowOf } from './random_crops.ts'

/** Red says the column, green the row, blue is 7. */
const slope = (height: number, width: number) => ({
  height,
  width,
  pixels: Uint8Array.from({ length: height * width * 3 }, (_, i) => {
    const place = Math.floor(i / 3)
    return [place % width, Math.floor(place / width), 7][i % 3]!
  }),
})

test('a window of the size of the result is copied, and mirrored where asked', () => {
  const picture = slope(10, 12)
  const window = { top: 2, left: 3, height: 4, width: 4 }
  const reds = (crop: Uint8Array) => [...crop].filter((_, i) => i % 3 === 0)
  expect(reds(scaled(picture, window, 4, false)).slice(0, 8)).toEqual([3, 4, 5, 6, 3, 4, 5, 6])
  expect(reds(scaled(picture, window, 4, true)).slice(0, 4)).toEqual([6, 5, 4, 3])
  const greens = [...scaled(picture, window, 4, false)].filter((_, i) => i % 3 === 1)
  expect(greens.filter((_, i) => i % 4 === 0)).toEqual([2, 3, 4, 5])
})
test('half the size averages with weights 1, 3, 3, 1 inside, and what lies outside counts nothing', () => {
  const row = [0, 80, 160, 240]
  const picture = {
    height: 4,
    width: 4,
    pixels: Uint8Array.from({ length: 48 }, (_, i) => row[Math.floor(i / 3) % 4]!),
  }
  const crop = scaled(picture, { top: 0, left: 0, height: 4, width: 4 }, 2, false)
  // Centre 1, reach 2: pixel centres 0.5, 1.5, 2.5 weigh 3/4, 3/4, 1/4, so (0 * 3 + 80 * 3 + 160) / 7.
  expect(crop[0]).toBe(Math.round(400 / 7))
  expect(crop[3]).toBe(Math.round(240 - 400 / 7))
})
test('windows lie inside, have a fifth of the picture or more, and reach its edges', () => {
  const picture = { height: 100, width: 140 }
  for (const share of [0, 0.3, 0.999])
    for (const ratio of [0, 0.5, 0.999])
      for (const place of [0, 0.999]) {
        const { top, left, height, width } = windowOf(picture, { share, ratio, down: place, right: place })
        expect(top).toBe(place === 0 ? 0 : 100 - height)
        expect(left).toBe(place === 0 ? 0 : 140 - width)
        if (share === 0) expect((height * width) / 14000).toBeCloseTo(0.2, 2)
        if (height < 100 && width < 140) expect(width / height).toBeLessThan(1.36)
      }
})
test('the same seed gives the same crops, another one or another name other crops', () => {
  const options = { count: 3, size: 8, seed: 0, name: 'a' }
  const crops = (of: Partial<typeof options>) =>
    randomCrops([slope(40, 50), slope(60, 30)], { ...options, ...of })
  expect(crops({})).toEqual(crops({}))
  expect(crops({ seed: 1 })).not.toEqual(crops({}))
  expect(crops({ name: 'b' })).not.toEqual(crops({}))
  const batch = batchOf(crops({}), 8)
  expect(batch.shape).toEqual([3, 8, 8, 3])
  expect(Array.from(batch.toArray(), Number).slice(192, 384)).toEqual([...crops({})[1]!])
})
