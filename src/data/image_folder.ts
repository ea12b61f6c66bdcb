/** Folders of images by class: `folder/CLASS/*.png`, `.jpg`, `.jpeg`, `.webp`. */
import { join } from 'node:path'
import { leadsToFolder, visibleEntries } from '../formats/folder.ts'
import { readImage } from '../formats/image_file.ts'
import { AbortError, FormatError, OptionError, printable, ResourceError } from '../tensor/errors.ts'
import { type ImageSet, imageSet } from './image_set.ts'

export interface ImageFolderOptions {
  /** Every image is scaled to cover this size, and what stands out is cut off. */
  height: number
  width: number
  /** Those of the training set, where they must be the same. @default the folders by name, in the order of characters */
  classes?: readonly string[]
  /** Looked at before every few images. */
  signal?: AbortSignal | undefined
}

/** Bytes of all images together. */
const MOST_BYTES = 2 ** 31 - 1
/** Images that are decoded at a time; each may take 64 MiB of its file. */
const AT_A_TIME = 8

/**
 * Reads all images into memory, class by class and by file name; names that begin with a point are left out. A link to a
 * folder is a class as the folder is.
 *
 * @throws OptionError for a folder without classes or a class without images, FormatError naming the first file that is
 * damaged, no image, or an image of no class, ResourceError past 2 GiB of pixels, SourceError for a folder that cannot be
 * read, AbortError where the signal stops it.
 */
export async function readImageFolder(
  folder: string,
  { height, width, classes, signal }: ImageFolderOptions,
): Promise<ImageSet> {
  for (const [name, value] of Object.entries({ height, width }))
    if (!(Number.isInteger(value) && value >= 1 && value <= 4096))
      throw new OptionError(`${name}: a whole number of pixels from 1 to 4096 is needed, got ${value}`)
  const found = classesIn(folder)
  const names = classes ?? found
  if (names.length === 0)
    throw new OptionError(
      `${printable(folder)}: has no folders; images lie in one folder for each class, FOLDER/CLASS/*.png`,
      { code: 'PARE_E_EMPTY_DATA', facts: { path: folder } },
    )
  checkClasses(folder, found, names)
  const files = names.map((name) => imagesOf(join(folder, name)))
  const labels = Uint32Array.from(files.flatMap((list, label) => list.map(() => label)))
  const size = height * width * 3
  if (labels.length * size > MOST_BYTES)
    throw new ResourceError(
      `${printable(folder)}: ${labels.length} images of ${height} x ${width} need ${labels.length * size} bytes, at most ${MOST_BYTES} are read; choose a smaller size`,
    )
  const pixels = await decoded(files.flat(), { height, width }, signal)
  return imageSet({ name: printable(folder), height, width, channels: 3, pixels, labels, classes: names })
}

/** The pixels of all files in their order. The first file in that order that cannot be read is the one that is named. */
async function decoded(
  files: readonly string[],
  size: { height: number; width: number },
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const bytes = size.height * size.width * 3
  const pixels = new Uint8Array(files.length * bytes)
  for (let at = 0; at < files.length; at += AT_A_TIME) {
    if (signal?.aborted) throw new AbortError()
    const images = await Promise.allSettled(
      files.slice(at, at + AT_A_TIME).map((file) => readImage(file, { size })),
    )
    for (const [i, image] of images.entries()) {
      if (image.status === 'rejected') throw image.reason
      pixels.set(image.value.pixels, (at + i) * bytes)
    }
  }
  return pixels
}

/** @throws FormatError for an image beside the folders, which would be left out without a word */
function classesIn(folder: string): string[] {
  const entries = visibleEntries(folder)
  const classes = entries.filter((entry) => leadsToFolder(folder, entry))
  const loose = sortedNames(entries.filter((entry) => !classes.includes(entry))).find(isImageName)
  if (loose === undefined) return sortedNames(classes)
  const path = join(folder, loose)
  throw new FormatError(
    `${printable(path)}: an image needs a class, and lies beside the folders of the classes; move it into one of them, FOLDER/CLASS/${printable(loose)}`,
    { code: 'PARE_E_LABEL', facts: { path, classes: sortedNames(classes) } },
  )
}

/** @throws FormatError for a folder that is none of the classes, whose images would be left out without a word */
function checkClasses(folder: string, found: readonly string[], classes: readonly string[]): void {
  const other = found.find((name) => !classes.includes(name))
  if (other === undefined) return
  throw new FormatError(
    `${printable(join(folder, other))}: the label ${printable(other)} is none of the classes ${printable(classes.join(', '))}; move the folder away`,
    { code: 'PARE_E_LABEL', facts: { path: folder, label: other, classes } },
  )
}

function imagesOf(folder: string): string[] {
  const names = sortedNames(visibleEntries(folder))
  if (names.length === 0)
    throw new OptionError(`${printable(folder)}: has no images; each class needs some`, {
      code: 'PARE_E_EMPTY_DATA',
      facts: { path: folder },
    })
  const other = names.find((name) => !isImageName(name))
  if (other !== undefined)
    throw new FormatError(
      `${printable(join(folder, other))}: images end in .png, .jpg, .jpeg or .webp; move it out of the folder`,
      { code: 'PARE_E_IMAGE', facts: { path: join(folder, other) } },
    )
  return names.map((name) => join(folder, name))
}

const isImageName = (name: string): boolean => /\.(png|jpe?g|webp)$/i.test(name)

const sortedNames = (entries: readonly { name: string }[]): string[] =>
  entries.map(({ name }) => name).sort((a, b) => (a < b ? -1 : 1))
