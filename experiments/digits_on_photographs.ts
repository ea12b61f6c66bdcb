/**
 * Digits of MNIST in white, where they stand, on pieces of photographs: 28 x 28, grey. What Larochelle et al. 2007 ("An
 * empirical evaluation of deep architectures on problems with many factors of variation", section 4.1) call
 * mnist-back-image: harder than MNIST, where methods tie, and still within reach of fully connected layers, which the
 * moved digits of `textured_digits.ts` are not.
 *
 *   background   a square of 56 pixels of a photograph, averaged down to 28
 *   pixel        background + ink (white - background)
 *
 * No photograph and no digit is on both sides. The same seed gives the same bytes.
 */
import { mnistData, type Split } from '#src/data/assets/digits.ts'
import {
  heldOutPhotographs,
  type Photograph,
  readPhotographs,
  trainingPhotographs,
} from '#src/data/assets/photographs.ts'
import { type ImageSet, imageSet } from '#src/data/image_set.ts'
import { randomStream, scope } from '#src/tensor/index.ts'

const SIDE = 28

/** 8,000 for training and 2,000 held out. */
export async function digitsOnPhotographs(assets: string, { seed = 0 } = {}): Promise<Split> {
  const digits = mnistData({ assets })
  return {
    train: onPhotographs(digits.train, await readPhotographs(assets, trainingPhotographs), seed),
    heldOut: onPhotographs(digits.heldOut, await readPhotographs(assets, heldOutPhotographs), seed),
  }
}

export function onPhotographs(digits: ImageSet, photographs: readonly Photograph[], seed: number): ImageSet {
  const halves = photographs.map(halfSize)
  const draws = scope(
    () =>
      randomStream(seed, `digits on photographs/${digits.name}`)
        .uniform([digits.count, 3], 'f64')
        .toArray() as Float64Array,
  )
  const pixels = new Uint8Array(digits.pixels.length)
  for (let image = 0; image < digits.count; image++) {
    const [photograph, down, right] = draws.subarray(3 * image, 3 * image + 3) as unknown as number[]
    const { width, height, levels } = halves[Math.floor(photograph! * halves.length)]!
    const [top, left] = [down! * (height - SIDE + 1), right! * (width - SIDE + 1)].map(Math.floor)
    for (let y = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++) {
        const at = (image * SIDE + y) * SIDE + x
        const background = levels[(top! + y) * width + left! + x]!
        pixels[at] = Math.round(background + (digits.pixels[at]! / 255) * (255 - background))
      }
  }
  const { labels, classes } = digits
  const name = `${digits.name} on photographs`
  return imageSet({ name, height: SIDE, width: SIDE, channels: 1, pixels, labels, classes })
}

/** Grey levels of a photograph at half its size. */
function halfSize({ width, height, pixels }: Photograph) {
  const [w, h] = [width >> 1, height >> 1]
  const levels = new Float32Array(w * h)
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      let sum = 0
      for (const place of [2 * y * width + 2 * x, (2 * y + 1) * width + 2 * x])
        for (let i = 3 * place; i < 3 * place + 6; i++) sum += pixels[i]!
      levels[y * w + x] = sum / 12
    }
  return { width: w, height: h, levels }
}
