/**
 * IDX, the format of MNIST: 0, 0, a type (8 = bytes), the number of axes, each extent as big-endian u32, the values.
 * Source: http://yann.lecun.com/exdb/mnist. A file that ends in .gz is unpacked.
 */
import { gunzipSync } from 'node:zlib'
import { FormatError, printable } from '../tensor/errors.ts'
import { openFile } from './file.ts'

export interface IdxArray {
  shape: readonly number[]
  values: Uint8Array
}

/** Bytes of a file, unpacked too. */
const LARGEST = 2 ** 30

/**
 * Reads an array of bytes with `rank` axes.
 *
 * @throws FormatError for a file that is cut, longer than it says, of another type or rank, or larger than 1 GiB.
 * @example readIdx('train-images-idx3-ubyte.gz', 3).shape   // [60000, 28, 28]
 */
export function readIdx(path: string, rank: number): IdxArray {
  const bytes = readGzip(path, LARGEST)
  const wrong = (what: string) =>
    new FormatError(`${printable(path)}: ${what}; get the file again`, {
      code: 'PARE_E_IDX',
      facts: { path },
    })
  const header = 4 + 4 * rank
  if (bytes.length < 4 || bytes[0] !== 0 || bytes[1] !== 0) throw wrong('is no IDX file')
  if (bytes[2] !== 8) throw wrong(`holds values of type ${bytes[2]}, type 8 (bytes) is read`)
  if (bytes[3] !== rank) throw wrong(`has ${bytes[3]} axes, ${rank} are needed`)
  if (bytes.length < header) throw wrong(`ends inside its header of ${header} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis))
  const size = shape.reduce((product, extent) => product * extent, 1)
  if (bytes.length !== header + size)
    throw wrong(`${shape.join(' x ')} values need ${size} bytes, it has ${bytes.length - header}`)
  return { shape, values: bytes.subarray(header) }
}

/** The bytes of a file, unpacked if its name ends in .gz. @throws FormatError past `largest` bytes or for a damaged one */
export function readGzip(path: string, largest: number): Uint8Array {
  const file = openFile(path)
  const wrong = (what: string, cause?: unknown) =>
    new FormatError(`${printable(path)}: ${what}; get the file again`, {
      code: 'PARE_E_GZIP',
      facts: { path },
      ...(cause !== undefined && { cause }),
    })
  try {
    if (file.size > largest) throw wrong(`has ${file.size} bytes, at most ${largest} are read`)
    const bytes = file.read(0, file.size)
    if (!path.endsWith('.gz')) return bytes
    try {
      return gunzipSync(bytes, { maxOutputLength: largest })
    } catch (cause) {
      throw wrong(`does not unpack (${printable((cause as Error).message)})`, cause)
    }
  } finally {
    file.close()
  }
}
