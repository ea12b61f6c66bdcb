/** PNG, JPEG and WebP files as bytes of red, green and blue, decoded by sharp. */
import type Sharp from 'sharp'
import { FormatError, NativeError, printable } from '../tensor/errors.ts'
import { openFile } from './file.ts'

export interface DecodedImage {
  height: number
  width: number
  /** [height, width, 3] in sRGB, row-major. */
  pixels: Uint8Array
}

export interface ReadImageOptions {
  /** The image is scaled to cover this size, and what stands out on two sides is cut off. @default its own size */
  size?: { height: number; width: number }
}

const LARGEST_FILE = 2 ** 26
const MOST_PIXELS = 2 ** 26

/**
 * Reads an image; grey becomes three equal channels, transparency is left out, the orientation that a camera noted is
 * applied.
 *
 * @throws FormatError for a file that is damaged, too large (64 MiB, 2^26 pixels) or something else; SourceError for one
 * that cannot be read.
 */
export async function readImage(path: string, { size }: ReadImageOptions = {}): Promise<DecodedImage> {
  const bytes = readBytes(path)
  const sharp = await decoder()
  try {
    const image = sharp(bytes, { limitInputPixels: MOST_PIXELS, failOn: 'warning' }).autoOrient()
    if (size) image.resize({ ...size, fit: 'cover' })
    const { data, info } = await image
      .removeAlpha()
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    if (info.channels !== 3) throw new Error(`${info.channels} channels, 3 are needed`)
    const pixels = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    return { height: info.height, width: info.width, pixels }
  } catch (cause) {
    throw damaged(path, printable((cause as Error).message, 200), cause)
  }
}

function readBytes(path: string): Uint8Array {
  const file = openFile(path)
  try {
    if (file.size > LARGEST_FILE)
      throw damaged(path, `has ${file.size} bytes, at most ${LARGEST_FILE} are read`)
    const bytes = file.read(0, file.size)
    if (!isKnown(bytes)) throw damaged(path, 'is neither PNG nor JPEG nor WebP')
    return bytes
  } finally {
    file.close()
  }
}

/** By what the files begin with: other formats of the decoder can name further files, or take very long. */
function isKnown(bytes: Uint8Array): boolean {
  const starts = (text: string, at = 0) =>
    bytes.length > at + text.length && [...text].every((c, i) => bytes[at + i] === c.charCodeAt(0))
  return starts('\x89PNG\r\n\x1a\n') || starts('\xff\xd8\xff') || (starts('RIFF') && starts('WEBP', 8))
}

const damaged = (path: string, what: string, cause?: unknown) =>
  new FormatError(`${printable(path)}: ${what}; give another image`, {
    code: 'PARE_E_IMAGE',
    facts: { path },
    ...(cause !== undefined && { cause }),
  })

let loaded: typeof Sharp | undefined

/** Loaded at the first image: nothing else needs it. */
async function decoder(): Promise<typeof Sharp> {
  if (loaded) return loaded
  try {
    loaded = (await import('sharp')).default
    return loaded
  } catch (cause) {
    throw new NativeError(
      `sharp, which decodes images, does not load here (${printable((cause as Error).message, 200)}); install Pare's dependencies again for this machine, optional ones too`,
      { code: 'PARE_E_IMAGE_DECODER', cause },
    )
  }
}
