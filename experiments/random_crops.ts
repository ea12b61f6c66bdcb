/**
 * Random crops of photographs, as networks for ImageNet are trained on: a window of a random share of the picture and a
 * random aspect ratio, scaled to a square, mirrored in one of two cases (Szegedy et al. 2014, arXiv:1409.4842, section 6).
 * Scaled by a triangle that grows with the window, as Pillow's bilinear filter. The same seed gives the same bytes.
 */
import type { DecodedImage } from '#src/formats/image_file.ts'
import { randomStream, scope, type Tensor, tensor } from '#src/tensor/index.ts'

export interface Window {
  top: number
  left: number
  height: number
  width: number
}

export interface CropOptions {
  count: number
  /** Side of a crop in pixels. */
  size: number
  seed: number
  /** Keeps draws of the same seed apart. */
  name: string
}

/** Shares of the area of a picture, and ratios of width to height. */
const [leastShare, mostRatio] = [0.2, 4 / 3]

/** Crops [size, size, 3], of pictures drawn at random. */
export function randomCrops(
  pictures: readonly DecodedImage[],
  { count, size, seed, name }: CropOptions,
): Uint8Array[] {
  const draws = scope(() => randomStream(seed, name).uniform([count, 6], 'f64').toArray() as Float64Array)
  return Array.from({ length: count }, (_, i) => {
    const [picture, share, ratio, down, right, flip] = draws.subarray(6 * i, 6 * i + 6)
    const chosen = pictures[Math.floor(picture! * pictures.length)]!
    const window = windowOf(chosen, { share: share!, ratio: ratio!, down: down!, right: right! })
    return scaled(chosen, window, size, flip! < 0.5)
  })
}

/** All draws lie in [0, 1). A window that would stand out of the picture is as large as that. */
export function windowOf(
  { height, width }: Pick<DecodedImage, 'height' | 'width'>,
  { share, ratio, down, right }: { share: number; ratio: number; down: number; right: number },
): Window {
  const area = height * width * (leastShare + share * (1 - leastShare))
  const aspect = mostRatio ** (2 * ratio - 1)
  const across = Math.min(width, Math.round(Math.sqrt(area * aspect)))
  const along = Math.min(height, Math.round(Math.sqrt(area / aspect)))
  return {
    height: along,
    width: across,
    top: Math.floor(down * (height - along + 1)),
    left: Math.floor(right * (width - across + 1)),
  }
}

/** A window scaled to a square, mirrored where asked. */
export function scaled(
  { width, pixels }: DecodedImage,
  window: Window,
  size: number,
  flip: boolean,
): Uint8Array {
  const [columns, rows] = [weightsOf(window.width, size), weightsOf(window.height, size)]
  // First along the rows: [height, size, 3].
  const narrow = new Float32Array(window.height * size * 3)
  for (let y = 0; y < window.height; y++)
    for (const [x, { first, weights }] of columns.entries())
      for (let c = 0; c < 3; c++) {
        let sum = 0
        for (const [k, weight] of weights.entries())
          sum += weight * pixels[((window.top + y) * width + window.left + first + k) * 3 + c]!
        narrow[(y * size + (flip ? size - 1 - x : x)) * 3 + c] = sum
      }
  const result = new Uint8Array(size * size * 3)
  const line = 3 * size
  for (const [y, { first, weights }] of rows.entries())
    for (let at = 0; at < line; at++) {
      let sum = 0
      for (const [k, weight] of weights.entries()) sum += weight * narrow[(first + k) * line + at]!
      result[y * line + at] = Math.round(sum)
    }
  return result
}

/** Of each of `size` pixels the pixels that it is made of, whose weights add up to 1. */
function weightsOf(length: number, size: number): { first: number; weights: number[] }[] {
  const scale = length / size
  const reach = Math.max(1, scale)
  return Array.from({ length: size }, (_, i) => {
    const centre = (i + 0.5) * scale
    const first = Math.max(0, Math.floor(centre - reach + 0.5))
    const last = Math.min(length, Math.floor(centre + reach + 0.5))
    const raw = Array.from({ length: last - first }, (_, k) =>
      Math.max(0, 1 - Math.abs(first + k + 0.5 - centre) / reach),
    )
    const all = raw.reduce((sum, weight) => sum + weight, 0)
    return { first, weights: raw.map((weight) => weight / all) }
  })
}

/** Crops as a batch f32 [count, size, size, 3], colours from 0 to 255. */
export const batchOf = (crops: readonly Uint8Array[], size: number): Tensor => {
  const values = new Float32Array(crops.length * size * size * 3)
  for (const [i, crop] of crops.entries()) values.set(crop, i * crop.length)
  return tensor(values, [crops.length, size, size, 3])
}
