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
test('every digit is used once, and stands out from its background', () => {
  const { train } = make()
  const counts = digitClasses.map((_, label) => train.labels.filter((l) => l === label).length)
  expect(counts).toEqual(Array(10).fill(6))
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
