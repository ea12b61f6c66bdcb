import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createLoader } from '../optim/loader.ts'
import { FormatError, OptionError } from '../tensor/errors.ts'
import { randomStream } from '../tensor/index.ts'
import { drawPlacements } from './augment.ts'
import {
  channelStatistics,
  holdOut,
  type ImageSet,
  imageExamples,
  imageSet,
  pickImages,
} from './image_set.ts'

/** Images whose pixels are all different from 0 as far as bytes go. */
function numbered(count: number, side = 4, channels = 1): ImageSet {
  const size = side * side * channels
  return imageSet({
    name: 'numbered',
    height: side,
    width: side,
    channels,
    pixels: Uint8Array.from({ length: count * size }, (_, i) => 1 + (i % 255)),
    labels: Uint32Array.from({ length: count }, (_, i) => i % 3),
    classes: ['a', 'b', 'c'],
  })
}
/** Pixels stay what they are, but that black is -1. */
const plain = { mean: [1 / 255], deviation: [1 / 255] }
const random = () => randomStream(5, 'augmentation')
const grid = (values: ArrayLike<number | bigint>, side: number) =>
  Array.from({ length: side }, (_, y) =>
    Array.from({ length: side }, (_, x) => Math.round(Number(values[y * side + x]))),
  )

describe('a set of images', () => {
  test('is refused by image where pixels, labels or classes do not fit', () => {
    const parts = { ...numbered(2) }
    const refuse = (changes: Partial<ImageSet>, message: RegExp) => {
      expect(() => imageSet({ ...parts, ...changes })).toThrow(FormatError)
      expect(() => imageSet({ ...parts, ...changes })).toThrow(message)
    }
    refuse({ pixels: new Uint8Array(31) }, /2 images of 4 x 4 x 1 need 32 bytes, got 31/)
    refuse({ labels: Uint32Array.of(0, 3) }, /image 1 has label 3, there are 3 classes/)
    refuse({ maximum: 16 }, /image 1 has a pixel of 17, white is 16/)
    refuse({ height: 0, pixels: new Uint8Array(0) }, /need 0 bytes/)
  })
  test('falls into a training and a held-out part without a common image, that together are all', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 2, max: 9 }), (count, every) => {
        const { train, heldOut } = holdOut(numbered(count), every)
        expect(heldOut.count).toBe(Math.floor(count / every))
        const rebuilt: number[] = []
        let [t, h] = [0, 0]
        for (let i = 0; i < count; i++)
          rebuilt.push(
            ...(i % every === every - 1
              ? heldOut.pixels.subarray(16 * h, 16 * ++h)
              : train.pixels.subarray(16 * t, 16 * ++t)),
          )
        expect(rebuilt).toEqual([...numbered(count).pixels])
        expect([t, h]).toEqual([train.count, heldOut.count])
      }),
    )
    expect(() => holdOut(numbered(4), 1)).toThrow(OptionError)
    expect(() => pickImages(numbered(4), [4])).toThrow(/4 images, counted from 0, not image 4/)
  })
  test('has the mean and deviation of each channel between 0 and 1', () => {
    const set = imageSet({
      name: 'two',
      height: 1,
      width: 2,
      channels: 2,
      pixels: Uint8Array.of(0, 51, 255, 51, 0, 153, 255, 153),
      labels: Uint32Array.of(0, 0),
      classes: ['a'],
    })
    const { mean, deviation } = channelStatistics(set)
    expect(mean).toEqual([0.5, 0.4])
    expect(deviation[0]).toBeCloseTo(0.5, 12)
    expect(deviation[1]).toBeCloseTo(0.2, 12)
    const flat = { ...set, pixels: set.pixels.map((value, i) => (i % 2 === 1 ? 51 : value)) }
    expect(() => channelStatistics(flat)).toThrow(OptionError)
    expect(() => channelStatistics(flat)).toThrow(
      /^two: channel 1 \(from 0\) of 2 needs a deviation above 0, every pixel of it is 51; leave the channel out/,
    )
  })
})

describe('a batch', () => {
  test('holds (pixel / maximum - mean) / deviation, channel by channel, and the labels', () => {
    const set = imageSet({
      name: 'set',
      height: 1,
      width: 1,
      channels: 2,
      maximum: 16,
      pixels: Uint8Array.of(16, 8, 4, 0),
      labels: Uint32Array.of(1, 0),
      classes: ['a', 'b'],
    })
    const examples = imageExamples(set, { normalise: { mean: [0.5, 0.25], deviation: [0.5, 0.25] } })
    const { ids, inputs, labels } = examples.batch(Uint32Array.of(1, 0, 1), random())
    expect([inputs.shape, inputs.dtype, labels.dtype]).toEqual([[3, 1, 1, 2], 'f32', 'u32'])
    expect([...inputs.toArray()]).toEqual([-0.5, -1, 1, 1, -0.5, -1])
    expect([[...ids], [...labels.toArray()]]).toEqual([
      [1, 0, 1],
      [0, 1, 0],
    ])
  })
  test('with a crop, a flip and a cutout has every pixel from where its placement says', () => {
    const side = 6
    const set = numbered(8, side)
    const augment = { crop: { padding: 2 }, flip: true, cutout: { size: 3 } }
    const ids = Uint32Array.from({ length: 8 }, (_, i) => i)
    const placements = drawPlacements(augment, set, 8, random())
    const { inputs } = imageExamples(set, { normalise: plain, augment }).batch(ids, random())
    const found = inputs.toArray()
    expect(new Set(placements.map(({ flip }) => flip)).size).toBe(2)
    for (const [i, { down, right, flip, cut }] of placements.entries()) {
      const image = grid(set.pixels.subarray(i * side * side), side)
      const cropped = image.map((row, y) => row.map((_, x) => (image[y + down]?.[x + right] ?? 0) - 1))
      const flipped = cropped.map((row) => (flip ? row.toReversed() : row))
      const expected = flipped.map((row, y) =>
        row.map((v, x) => (y >= cut!.top && y < cut!.bottom && x >= cut!.left && x < cut!.right ? 0 : v)),
      )
      expect(grid(found.subarray(i * side * side), side)).toEqual(expected)
    }
  })
  test('places lie within the padding, squares around pixels, and all of them occur', () => {
    const size = { height: 4, width: 4 }
    const placements = drawPlacements({ crop: { padding: 1 }, cutout: { size: 2 } }, size, 400, random())
    const sorted = (values: number[]) => [...new Set(values)].sort((a, b) => a - b)
    expect(sorted(placements.map(({ down }) => down))).toEqual([-1, 0, 1])
    expect(sorted(placements.map(({ right }) => right))).toEqual([-1, 0, 1])
    expect(sorted(placements.map(({ cut }) => cut!.top))).toEqual([-1, 0, 1, 2])
    expect(placements.some(({ flip }) => flip)).toBe(false)
  })
  test('one more change leaves the places of the others as they are', () => {
    const size = { height: 8, width: 8 }
    const [few, more] = [{ crop: { padding: 2 } }, { crop: { padding: 2 }, flip: true, cutout: { size: 3 } }]
    const places = (augment: object) =>
      drawPlacements(augment, size, 20, random()).map(({ down, right }) => [down, right])
    expect(places(more)).toEqual(places(few))
  })
  test('of a loader that goes on has the same pixels', () => {
    const examples = imageExamples(numbered(10), {
      normalise: plain,
      augment: { crop: { padding: 2 }, flip: true },
    })
    const options = { batch: 4, dropLast: false, seed: 9 }
    const [first, second] = [createLoader(examples, options), createLoader(examples, options)]
    for (let i = 0; i < 4; i++) first.next()
    second.load(JSON.parse(JSON.stringify(first.state())))
    for (let i = 0; i < 5; i++) {
      const [a, b] = [first.next()!, second.next()!]
      expect([...b.ids]).toEqual([...a.ids])
      expect(b.inputs.bytes()).toEqual(a.inputs.bytes())
    }
  })
  test('changes and numbers that do not fit the images are refused', () => {
    const refuse = (options: Parameters<typeof imageExamples>[1]) =>
      expect(() => imageExamples(numbered(2), options)).toThrow(OptionError)
    refuse({ normalise: { mean: [0], deviation: [0] } })
    refuse({ normalise: { mean: [0, 0], deviation: [1, 1] } })
    expect(() => imageExamples(numbered(2), { normalise: { mean: [0], deviation: [0] } })).toThrow(
      /for each of 1 channels, got \[0\] and \[0\]; take those of the training images/,
    )
    refuse({ normalise: plain, augment: { crop: { padding: 5 } } })
    refuse({ normalise: plain, augment: { crop: { padding: 0.5 } } })
    refuse({ normalise: plain, augment: { cutout: { size: 0 } } })
  })
})
