import { expect, test } from 'vitest'
import { imageSet } from '#src/data/image_set.ts'
import { onPhotographs } from './digits_on_photographs.ts'

const digits = (ink: number) =>
  imageSet({
    name: 'digits',
    height: 28,
    width: 28,
    channels: 1,
    pixels: new Uint8Array(2 * 784).fill(ink),
    labels: Uint32Array.of(3, 4),
    classes: [...'0123456789'],
  })
/** Its grey level is half of the column at half size. */
const photograph = {
  name: 'ramp',
  height: 80,
  width: 120,
  pixels: Uint8Array.from({ length: 3 * 80 * 120 }, (_, i) => Math.floor((i / 3) % 120) >> 1),
}

test('white ink covers the photograph, none leaves it, and half of it lies between', () => {
  const [none, half, all] = [0, 127.5, 255].map((ink) => onPhotographs(digits(ink), [photograph], 0))
  expect(new Set(all!.pixels)).toEqual(new Set([255]))
  expect([...none!.labels]).toEqual([3, 4])
  // Along a row the columns of the photograph follow each other.
  expect([...none!.pixels.subarray(0, 28)].map((level) => level - none!.pixels[0]!)).toEqual(
    Array.from({ length: 28 }, (_, i) => i),
  )
  expect(half!.pixels[0]).toBe(Math.round(none!.pixels[0]! + (127 / 255) * (255 - none!.pixels[0]!)))
})
test('the same seed gives the same bytes, another one other places', () => {
  const at = (seed: number) => [...onPhotographs(digits(0), [photograph], seed).pixels]
  expect(at(1)).toEqual(at(1))
  expect(at(1)).not.toEqual(at(2))
})
