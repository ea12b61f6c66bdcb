/** A file of which some bytes are here, such as the header of one that lies on a server. */
import { FormatError, printable } from '../tensor/errors.ts'
import type { ByteSource } from './file.ts'

/** Bytes that a reader needs and that are not here. Whoever opened the source fetches them and lets it read again. */
export class MissingBytes extends Error {
  readonly source: PartialSource
  readonly offset: number
  readonly length: number
  constructor(source: PartialSource, offset: number, length: number) {
    super(`${printable(source.name)}: ${length} bytes at ${offset} are not here`)
    this.source = source
    this.offset = offset
    this.length = length
  }
}

export interface PartialSource extends ByteSource {
  /** Takes bytes that begin at `offset`. */
  add(offset: number, bytes: Uint8Array): void
}

interface Segment {
  start: number
  bytes: Uint8Array
}

/**
 * A source of `size` bytes without any of them. Reading outside of what was added throws MissingBytes.
 *
 * @example
 * const source = partialSource('model.safetensors', 5e9)
 * source.add(0, firstBytes)
 */
export function partialSource(name: string, size: number): PartialSource {
  const segments: Segment[] = []
  const source: PartialSource = {
    name,
    size,
    // Every byte that is read is fetched first.
    readAhead: 1 << 16,
    read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= size))
        throw new FormatError(
          `${printable(name)}: ${length} bytes at ${offset} lie outside the ${size} bytes of the file; it is cut or damaged`,
          { code: 'PARE_E_SHORT_READ', facts: { path: name, offset, length, size } },
        )
      const holder = segments.find(
        ({ start, bytes }) => start <= offset && offset + length <= start + bytes.length,
      )
      if (holder) {
        const at = offset - holder.start
        // A copy of its own: `slice` of a Buffer would be none.
        return new Uint8Array(holder.bytes.subarray(at, at + length))
      }
      if (length === 0) return new Uint8Array(0)
      // What is here already need not come again.
      const begun = segments.find(({ start, bytes }) => start <= offset && offset < start + bytes.length)
      const from = begun ? begun.start + begun.bytes.length : offset
      throw new MissingBytes(source, from, offset + length - from)
    },
    add(offset, bytes) {
      const before = segments.find(({ start, bytes: own }) => start + own.length === offset)
      if (before) before.bytes = Buffer.concat([before.bytes, bytes])
      else segments.push({ start: offset, bytes })
    },
    close() {},
  }
  return source
}
