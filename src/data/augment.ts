/**
 * Random changes of training images: where a crop lies, whether it is mirrored, which square is cut out.
 *
 *   crop      the image with `padding` black pixels on every side, cut to its size at a random place
 *   flip      left and right exchanged, with a probability of one half
 *   cutout    a square around a random pixel, as far as it lies inside: DeVries and Taylor 2017, arXiv:1708.04552
 *
 * All draws of a batch are one call, five numbers an image whatever is asked for, so that adding one change leaves the
 * others as they are.
 */
import { OptionError } from '../tensor/errors.ts'
import { type RandomStream, scope } from '../tensor/index.ts'
import { wholeBelow } from './whole_draw.ts'

export interface AugmentOptions {
  /** Black pixels around the image before it is cropped. @default no crop */
  crop?: { padding: number }
  /** @default false */
  flip?: boolean
  /** Side of the square in pixels. @default none */
  cutout?: { size: number }
}

/** Where the pixels of a changed image come from. */
export interface Placement {
  /** Rows and columns that the crop lies below and right of the image, negative above and left. */
  down: number
  right: number
  /** The crop is mirrored after it was cut. */
  flip: boolean
  /** Cut out of the result; `bottom` and `right` are the first ones that stay. */
  cut?: { top: number; bottom: number; left: number; right: number }
}

/** @throws OptionError for sizes that do not fit the images. */
export function checkAugment(
  { crop, cutout }: AugmentOptions,
  { height, width }: { height: number; width: number },
): void {
  const side = Math.min(height, width)
  for (const [name, value, least] of [
    ['crop: padding', crop?.padding, 0],
    ['cutout: size', cutout?.size, 1],
  ] as const)
    if (value !== undefined && !(Number.isInteger(value) && value >= least && value <= side))
      throw new OptionError(
        `${name}: a whole number of pixels from ${least} to ${side} is needed, got ${value}`,
      )
}

/** One placement an image. */
export function drawPlacements(
  { crop, flip = false, cutout }: AugmentOptions,
  { height, width }: { height: number; width: number },
  count: number,
  random: RandomStream,
): Placement[] {
  const draws = scope(() => random.uniform([count, 5]).toArray() as Float32Array)
  const padding = crop?.padding ?? 0
  return Array.from({ length: count }, (_, i) => {
    const below = (column: number, limit: number) => wholeBelow(draws[5 * i + column]!, limit)
    const placement: Placement = {
      down: below(0, 2 * padding + 1) - padding,
      right: below(1, 2 * padding + 1) - padding,
      flip: flip && below(2, 2) === 1,
    }
    if (!cutout) return placement
    const half = Math.floor(cutout.size / 2)
    const [top, left] = [below(3, height) - half, below(4, width) - half]
    return { ...placement, cut: { top, left, bottom: top + cutout.size, right: left + cutout.size } }
  })
}
