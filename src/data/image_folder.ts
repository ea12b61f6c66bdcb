/** Folders of images by class: `folder/CLASS/*.png`, `.jpg`, `.jpeg`, `.webp`. */
import type { Dirent } from 'node:fs'
import { join } from 'node:path'
import { visibleEntries } from '../formats/folder.ts'
import { readImage } from '../formats/image_file.ts'
import { FormatError, OptionError, printable, ResourceError } from '../tensor/errors.ts'
import { type ImageSet, imageSet } from './image_set.ts'

export interface ImageFolderOptions {
  /** Every image is scaled to cover this size, and what stands out is cut off. */
  height: number
  width: number
  /** Those of the training set, where they must be the same. @default the folders by name, in the order of characters */
  classes?: readonly string[]
}

/** Bytes of all images together. */
const MOST_BYTES = 2 ** 31 - 1

/**
 * Reads all images into memory, class by class and by file name; names that begin with a point are left out.
 *
 * @throws OptionError for a folder without classes or a class without images, FormatError naming the file that is
 * damaged or no image, ResourceError past 2 GiB of pixels, SourceError for a folder that cannot be read.
 */
export async function readImageFolder(
  folder: string,
  { height, width, classes }: ImageFolderOptions,
): Promise<ImageSet> {
  for (const [name, value] of Object.entries({ height, width }))
    if (!(Number.isInteger(value) && value >= 1 && value <= 4096))
      throw new OptionError(`${name}: a whole number of pixels from 1 to 4096 is needed, got ${value}`)
  const names = classes ?? namesIn(folder, (entry) => entry.isDirectory() || entry.isSymbolicLink())
  if (names.length === 0)
    throw new OptionError(
      `${printable(folder)}: has no folders; images lie in one folder for each class, FOLDER/CLASS/*.png`,
      { code: 'PARE_E_EMPTY_DATA', facts: { path: folder } },
    )
  if (classes) checkClasses(folder, classes)
  const files = names.map((name) => imagesOf(join(folder, name)))
  const labels = Uint32Array.from(files.flatMap((list, label) => list.map(() => label)))
  const size = height * width * 3
  if (labels.length * size > MOST_BYTES)
    throw new ResourceError(
      `${printable(folder)}: ${labels.length} images of ${height} x ${width} need ${labels.length * size} bytes, at most ${MOST_BYTES} are read; choose a smaller size`,
    )
  const pixels = new Uint8Array(labels.length * size)
  for (const [index, file] of files.flat().entries())
    pixels.set((await readImage(file, { size: { height, width } })).pixels, index * size)
  return imageSet({ name: printable(folder), height, width, channels: 3, pixels, labels, classes: names })
}

/** @throws FormatError for a folder that is none of the classes, whose images would be left out without a word */
function checkClasses(folder: string, classes: readonly string[]): void {
  const other = namesIn(folder, (entry) => entry.isDirectory()).find((name) => !classes.includes(name))
  if (other === undefined) return
  throw new FormatError(
    `${printable(join(folder, other))}: the label ${printable(other)} is none of the classes ${printable(classes.join(', '))}; move the folder away`,
    { code: 'PARE_E_LABEL', facts: { path: folder, label: other, classes } },
  )
}

function imagesOf(folder: string): string[] {
  const names = namesIn(folder, () => true)
  if (names.length === 0)
    throw new OptionError(`${printable(folder)}: has no images; each class needs some`, {
      code: 'PARE_E_EMPTY_DATA',
      facts: { path: folder },
    })
  const other = names.find((name) => !/\.(png|jpe?g|webp)$/i.test(name))
  if (other !== undefined)
    throw new FormatError(
      `${printable(join(folder, other))}: images end in .png, .jpg, .jpeg or .webp; move it out of the folder`,
      { code: 'PARE_E_IMAGE', facts: { path: join(folder, other) } },
    )
  return names.map((name) => join(folder, name))
}

const namesIn = (folder: string, wanted: (entry: Dirent) => boolean): string[] =>
  visibleEntries(folder)
    .filter(wanted)
    .map(({ name }) => name)
    .sort((a, b) => (a < b ? -1 : 1))
