/** Images of one size with classes, as bytes, and batches of them for a network. */

import { type Examples, fingerprintOf } from '../optim/examples.ts'
import { FormatError, OptionError, printable } from '../tensor/errors.ts'
import { tensor } from '../tensor/index.ts'
import { type AugmentOptions, checkAugment, drawPlacements, type Placement } from './augment.ts'

export interface ImageSet {
  /** How messages call it. */
  readonly name: string
  readonly count: number
  readonly height: number
  readonly width: number
  readonly channels: number
  /** [count, height, width, channels], row-major. */
  readonly pixels: Uint8Array
  /** Value of white; black is 0. */
  readonly maximum: number
  /** Class of each image. */
  readonly labels: Uint32Array
  readonly classes: readonly string[]
}

/**
 * Checks that the parts fit. @throws FormatError for another number of pixels, a label without a class, or a pixel above
 * `maximum`, naming the image.
 */
export function imageSet({
  maximum = 255,
  ...parts
}: Omit<ImageSet, 'count' | 'maximum'> & { maximum?: number }): ImageSet {
  const { name, pixels, labels, classes, height, width, channels } = parts
  const count = labels.length
  const wrong = (what: string) => new FormatError(`${printable(name)}: ${what}`, { code: 'PARE_E_IMAGES' })
  const size = height * width * channels
  if (!(size > 0 && pixels.length === count * size))
    throw wrong(
      `${count} images of ${height} x ${width} x ${channels} need ${count * size} bytes, got ${pixels.length}`,
    )
  const label = labels.findIndex((c) => c >= classes.length)
  if (label >= 0)
    throw wrong(`image ${label} has label ${labels[label]}, there are ${classes.length} classes`)
  const pixel = maximum < 255 ? pixels.findIndex((p) => p > maximum) : -1
  if (pixel >= 0)
    throw wrong(
      `image ${Math.floor(pixel / size)} has a pixel of ${pixels[pixel]}, white is ${maximum}; it is damaged`,
    )
  return { ...parts, maximum, count }
}

/** Some of the images, in the order of `ids`. */
export function pickImages(set: ImageSet, ids: ArrayLike<number>, name: string = set.name): ImageSet {
  const size = set.height * set.width * set.channels
  const pixels = new Uint8Array(ids.length * size)
  const labels = new Uint32Array(ids.length)
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!
    if (!(id >= 0 && id < set.count))
      throw new OptionError(`${set.name}: there are ${set.count} images, counted from 0, not image ${id}`)
    pixels.set(set.pixels.subarray(id * size, (id + 1) * size), i * size)
    labels[i] = set.labels[id]!
  }
  return { ...set, name, pixels, labels, count: ids.length }
}

/** Every `every`-th image is held out (ids every - 1, 2 every - 1, ...), the others are for training. */
export function holdOut(set: ImageSet, every: number): { train: ImageSet; heldOut: ImageSet } {
  if (!(Number.isInteger(every) && every >= 2))
    throw new OptionError(`hold out: every second image or fewer, got one in ${every}`)
  const ids = Array.from({ length: set.count }, (_, i) => i)
  const isHeldOut = (id: number) => id % every === every - 1
  return {
    train: pickImages(
      set,
      ids.filter((id) => !isHeldOut(id)),
      `${set.name} (training)`,
    ),
    heldOut: pickImages(set, ids.filter(isHeldOut), `${set.name} (held out)`),
  }
}

/** Per channel, of pixels between 0 and 1. */
export interface Normalisation {
  mean: readonly number[]
  /** Standard deviation, above 0. */
  deviation: readonly number[]
}

/**
 * Mean and standard deviation of each channel over a set; for held-out images, take those of the training set.
 *
 * @throws OptionError for a channel whose pixels are all the same, by which nothing can be divided
 */
export function channelStatistics({ name, pixels, channels, maximum }: ImageSet): Normalisation {
  const [sums, squares] = [new Float64Array(channels), new Float64Array(channels)]
  for (let i = 0; i < pixels.length; i++) {
    sums[i % channels]! += pixels[i]!
    squares[i % channels]! += pixels[i]! ** 2
  }
  const each = pixels.length / channels
  const mean = Array.from(sums, (sum) => sum / each / maximum)
  const deviation = Array.from(squares, (square, c) => {
    const variance = square / each - (sums[c]! / each) ** 2
    return Math.sqrt(Math.max(0, variance)) / maximum
  })
  const constant = deviation.indexOf(0)
  if (constant >= 0)
    throw new OptionError(
      `${name}: channel ${constant} (from 0) of ${channels} needs a deviation above 0, every pixel of it is ${pixels[constant]}; leave the channel out, or give images that differ in it`,
      { code: 'PARE_E_IMAGES', facts: { channel: constant, value: pixels[constant]! } },
    )
  checkNormalisation(name, { mean, deviation }, channels)
  return { mean, deviation }
}

function checkNormalisation(name: string, { mean, deviation }: Normalisation, channels: number): void {
  const fits = [mean, deviation].every((list) => list.length === channels && list.every(Number.isFinite))
  if (fits && deviation.every((d) => d > 0)) return
  throw new OptionError(
    `${name}: needs a mean and a deviation above 0 for each of ${channels} channels, got [${mean.join(', ')}] and [${deviation.join(', ')}]; take those of the training images`,
  )
}

export interface ImageExamplesOptions {
  /** Pixels become (pixel / maximum - mean) / deviation. */
  normalise: Normalisation
  /** @default none */
  augment?: AugmentOptions
}

/** Batches: inputs f32 [batch, height, width, channels], labels u32 [batch]; the id of an image is its place in the set. */
export function imageExamples(set: ImageSet, { normalise, augment }: ImageExamplesOptions): Examples {
  checkNormalisation(set.name, normalise, set.channels)
  if (augment) checkAugment(augment, set)
  const levels = levelsOf(set, normalise)
  const { height, width, channels } = set
  const size = height * width * channels
  return {
    name: set.name,
    count: set.count,
    fingerprint: fingerprintOf(
      'images',
      JSON.stringify([height, width, channels, normalise, augment ?? null]),
      set.pixels,
      set.labels,
    ),
    batch(ids, random) {
      const placements = augment ? drawPlacements(augment, set, ids.length, random) : undefined
      const inputs = new Float32Array(ids.length * size)
      for (const [row, id] of ids.entries()) {
        const image = set.pixels.subarray(id * size, (id + 1) * size)
        copyImage(inputs.subarray(row * size, (row + 1) * size), image, set, levels, placements?.[row])
      }
      const labels = Uint32Array.from(ids, (id) => set.labels[id]!)
      return {
        ids,
        inputs: tensor(inputs, [ids.length, height, width, channels]),
        labels: tensor(labels, [ids.length], 'u32'),
      }
    },
  }
}

/** What each byte becomes, channel by channel: [channels, 256]. */
const levelsOf = ({ channels, maximum }: ImageSet, { mean, deviation }: Normalisation): Float32Array =>
  Float32Array.from({ length: channels * 256 }, (_, i) => {
    const channel = i >> 8
    return ((i & 255) / maximum - mean[channel]!) / deviation[channel]!
  })

const inPlace: Placement = { down: 0, right: 0, flip: false }

/** Pixels from outside the image are black; those cut out are 0, the mean. */
function copyImage(
  into: Float32Array,
  image: Uint8Array,
  { height, width, channels }: ImageSet,
  levels: Float32Array,
  { down, right, flip, cut }: Placement = inPlace,
): void {
  let at = 0
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += channels) {
      if (cut && y >= cut.top && y < cut.bottom && x >= cut.left && x < cut.right) continue
      const row = y + down
      const column = (flip ? width - 1 - x : x) + right
      const inside = row >= 0 && row < height && column >= 0 && column < width
      const from = (row * width + column) * channels
      for (let c = 0; c < channels; c++) into[at + c] = levels[(c << 8) | (inside ? image[from + c]! : 0)]!
    }
  }
}
