/** The files beside a model that hold its larger tensors. Their names stand in the model, which nobody vouches for. */
import { dirname, join } from 'node:path'
import { printable } from '../../tensor/errors.ts'
import { damaged } from '../archive.ts'
import { type ByteSource, openFile } from '../file.ts'

/** A path below the model's folder: no way up, no root, no drive, and nothing that another system reads as one. */
const isBelow = (location: string): boolean =>
  location.length <= 4096 &&
  !/[\\:\0]/.test(location) &&
  location.split('/').every((part) => part !== '' && part !== '.' && part !== '..')

/**
 * The file that a model's tensor lies in.
 *
 * @throws FormatError for a name that leads out of the model's folder.
 */
export function externalPath(model: string, location: string): string {
  if (isBelow(location)) return join(dirname(model), location)
  throw damaged(
    model,
    `keeps a tensor in ${printable(location)}; a relative name below the model's folder is needed`,
    'PARE_E_ONNX_LOCATION',
    { location },
  )
}

/**
 * A file that is open only while it is read: a model may keep each of a thousand tensors in a file of its own.
 *
 * @throws SourceError where it is missing
 */
export function briefFile(path: string): ByteSource {
  const first = openFile(path)
  first.close()
  return {
    name: path,
    size: first.size,
    read(offset, length) {
      const file = openFile(path)
      try {
        return file.read(offset, length)
      } finally {
        file.close()
      }
    },
    close() {},
  }
}
