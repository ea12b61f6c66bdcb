/** The writer behind every archive: places are known from the start, bytes come in any order. */
import { OptionError, printable } from '../tensor/errors.ts'
import type { ArchiveWriter } from './archive.ts'
import type { OutputFile } from './output.ts'

/** A file that is written, with the tensors that belong into it. */
export interface PlacedFile {
  readonly output: OutputFile
  readonly tensors: readonly { readonly name: string; readonly offset: number; readonly bytes: number }[]
}

/** Where the next byte of a tensor goes. */
interface Place {
  readonly file: { readonly output: OutputFile; missing: number }
  position: number
  readonly end: number
}

/**
 * Takes the bytes of the tensors and puts them where they belong. A file that is full gives its descriptor
 * back at once; all files get their names together, in `finish`. Whatever fails removes every file.
 */
export function placedWriter(files: readonly PlacedFile[]): ArchiveWriter {
  const places = new Map<string, Place>()
  for (const { output, tensors } of files) {
    const file = { output, missing: tensors.reduce((sum, { bytes }) => sum + bytes, 0) }
    for (const { name, offset, bytes } of tensors)
      places.set(name, { file, position: offset, end: offset + bytes })
  }
  const abort = () => {
    for (const { output } of files) output.abort()
  }
  const attempt = (step: () => void) => {
    try {
      step()
    } catch (error) {
      abort()
      throw error
    }
  }
  const refuse = (name: string, what: string, facts: Record<string, number>) => {
    abort()
    return new OptionError(`${printable(name)}: ${what}`, {
      code: 'PARE_E_TENSOR_SIZE',
      facts: { tensor: name, ...facts },
    })
  }
  return {
    append(name, bytes) {
      const place = places.get(name)
      if (!place) throw refuse(name, 'the tensor was not announced; announce it with its shape first', {})
      const missing = place.end - place.position
      if (bytes.length > missing)
        throw refuse(
          name,
          `${bytes.length} bytes are too many, ${missing} are missing; announce its full shape`,
          {
            bytes: bytes.length,
            missing,
          },
        )
      // A full file is sealed already; an empty tensor may still be written to it.
      if (bytes.length === 0) return
      attempt(() => {
        place.file.output.writeAt(place.position, bytes)
        place.position += bytes.length
        place.file.missing -= bytes.length
        if (place.file.missing === 0) place.file.output.seal()
      })
    },
    finish() {
      for (const [name, { position, end }] of places)
        if (position !== end)
          throw refuse(name, `${end - position} bytes are missing at the end; write every announced tensor`, {
            missing: end - position,
          })
      attempt(() => {
        for (const { output } of files) output.commit()
      })
    },
    abort,
  }
}
