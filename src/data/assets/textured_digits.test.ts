import { expect, test } from 'vitest'
import { fingerprintOf } from '../../optim/examples.ts'
import { OptionError } from '../../tensor/errors.ts'
import { type ImageSet, imageSet } from '../image_set.ts'
import { digitClasses } from './digits.ts'
import { digitsOnTextures, type TextureOptions } from './textured_digits.ts'

/** Bars at places of their own; every class as often as the others. */
function digits(count: number, first: number): ImageSet {
  const pixels = new Uint8Array(count * 784)
  for (let i = 0; i < count; i++) {
    const row = 2 + ((first + i) % 24)
    pixels.fill(255, i * 784 + row * 28 + 4, i * 784 + row * 28 + 24)
    pixels.fill(255, i * 784 + (row + 1) * 28 + 4, i * 784 + (row + 1) * 28 + 10 + (i % 14))
  }
  const labels = Uint32Array.from({ length: count }, (_, i) => i % 10)
  return imageSet({ name: 'bars', height: 28, width: 28, channels: 1, pixels, labels, classes: digitClasses })
}
/** A photograph whose red is always this value. */
const photograph = (red: number) => ({
  name: `${red}`,
  height: 97,
  width: 130,
  pixels: Uint8Array.from({ length: 97 * 130 * 3 }, (_, i) => (i % 3 === 0 ? red : (i * 7) % 251)),
})
const sources = { train: digits(60, 0), heldOut: digits(20, 5) }
const photographs = { train: [photograph(10), photograph(20)], heldOut: [photograph(200)] }
const make = (options: TextureOptions = {}) => digitsOnTextures(sources, photographs, options)
const print = (set: ImageSet) => fingerprintOf(set.pixels, set.labels)

/** Red of each corner pixel where nothing is painted most of the time. */
const reds = ({ pixels, count }: ImageSet) =>
  Array.from({ length: count }, (_, i) =>
    [0, 31, 31 * 32, 1023].map((at) => pixels[i * 3072 + at * 3]!),
  ).flat()

test('the same seed gives the same bytes, another one others', () => {
  const [one, again, two] = [make(), make({ seed: 0 }), make({ seed: 1 })]
  expect([print(again.train), print(again.heldOut)]).toEqual([print(one.train), print(one.heldOut)])
  expect(print(two.train)).not.toBe(print(one.train))
  expect(print(two.heldOut)).not.toBe(print(one.heldOut))
})
test('backgrounds come from the photographs of their own side', () => {
  const { train, heldOut } = make()
  const most = (set: ImageSet, wanted: number[]) => reds(set).filter((red) => wanted.includes(red)).length
  expect(most(train, [10, 20])).toBeGreaterThan(200)
  expect(most(train, [200])).toBeLessThan(20)
  expect(most(heldOut, [200])).toBeGreaterThan(60)
  expect(most(heldOut, [10, 20])).toBeLessThan(10)
})
/** A frame of ink around the bits of `first`, `first + 1`, .. as columns of 4 pixels, lowest first. */
function numberedDigits(count: number, first: number): ImageSet {
  const pixels = new Uint8Array(count * 784).map((_, at) => {
    const [number, row, column] = [first + Math.floor(at / 784), Math.floor((at % 784) / 28), at % 28]
    const bit = (number >> Math.floor(column / 4)) & 1
    return row < 4 || row >= 24 || bit === 1 ? 255 : 0
  })
  const labels = Uint32Array.from({ length: count }, (_, i) => i % 10)
  const [height, width] = [28, 28]
  return imageSet({ name: 'numbers', height, width, channels: 1, pixels, labels, classes: digitClasses })
}
/** The number of each digit, read from its painting on black, whatever its side, place and colour. */
const numbersIn = ({ pixels, count }: ImageSet): number[] =>
  Array.from({ length: count }, (_, i) => {
    const ink = Array.from({ length: 1024 }, (_, at) =>
      Math.max(...pixels.subarray(i * 3072 + at * 3, i * 3072 + at * 3 + 3)),
    )
    const painted = ink.flatMap((value, at) => (value > 0 ? [at] : []))
    const columns = painted.map((at) => at % 32)
    const [top, left] = [Math.floor(painted[0]! / 32), Math.min(...columns)]
    const side = Math.max(...columns) - left + 1
    const middle = (top + Math.floor(side / 2)) * 32 + left
    // A bit is at least 2 pixels wide, so that the pixel around its middle lies inside.
    const bits = Array.from({ length: 7 }, (_, k) => ink[middle + Math.floor(((k + 0.5) * side) / 7)]!)
    return bits.reduce((sum, value, k) => sum + (value > ink[painted[0]!]! / 2 ? 2 ** k : 0), 0)
  })

test('every digit is used once, under its label', () => {
  const black = { ...photograph(0), pixels: new Uint8Array(97 * 130 * 3) }
  const { train, heldOut } = digitsOnTextures(
    { train: numberedDigits(60, 0), heldOut: numberedDigits(20, 60) },
    { train: [black], heldOut: [black] },
  )
  const sorted = (set: ImageSet) => numbersIn(set).toSorted((a, b) => a - b)
  expect(sorted(train)).toEqual(Array.from({ length: 60 }, (_, i) => i))
  expect(sorted(heldOut)).toEqual(Array.from({ length: 20 }, (_, i) => 60 + i))
  for (const set of [train, heldOut]) expect(numbersIn(set).map((n) => n % 10)).toEqual([...set.labels])
})
test('every digit stands out from its background', () => {
  const { train } = make()
  expect(train.count).toBe(60)
  for (let i = 0; i < train.count; i++) {
    const painted = Array.from({ length: 1024 }, (_, at) => train.pixels[i * 3072 + at * 3]!)
    expect(painted.filter((red) => red !== 10 && red !== 20).length).toBeGreaterThan(8)
  }
})
test('fewer of a class leave the held-out side as it is', () => {
  const few = make({ perClass: 2 })
  expect([few.train.count, print(few.heldOut)]).toEqual([20, print(make().heldOut)])
})
test('label noise exchanges its share of the training labels, and nothing else', () => {
  const [clean, noisy] = [make(), make({ labelNoise: 0.25 })]
  expect(noisy.train.labels.filter((label, i) => label !== clean.train.labels[i]).length).toBe(15)
  expect(fingerprintOf(noisy.train.pixels)).toBe(fingerprintOf(clean.train.pixels))
  expect(print(noisy.heldOut)).toBe(print(clean.heldOut))
})
test('options that cannot be are refused', () => {
  for (const options of [{ perClass: 7 }, { perClass: 0 }, { labelNoise: -0.1 }, { labelNoise: 2 }])
    expect(() => make(options)).toThrow(OptionError)
})
