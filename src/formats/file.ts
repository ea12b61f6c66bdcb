/** Files read by position: every length is checked against the size of the file before memory is taken for it. */
import fs from 'node:fs'
import { FormatError, printable, SourceError } from '../tensor/errors.ts'

/** Bytes that can be read by position: a file, or a buffer in a test. */
export interface ByteSource {
  /** How messages call it; untrusted, so messages pass it through `printable`. */
  readonly name: string
  /** Size in bytes, fixed when it was opened. */
  readonly size: number
  /** Bytes that a reader of many small values had better ask for at a time. @default 2^20 */
  readonly readAhead?: number
  /**
   * `length` bytes from `offset`, in a buffer that the caller owns.
   *
   * @throws FormatError if the range does not lie inside the source, or the file was cut after it was opened.
   */
  read(offset: number, length: number): Uint8Array
  /** Gives the file back; reading afterwards is an error. May be called twice. */
  close(): void
}

/**
 * Opens a regular file for reading.
 *
 * @throws SourceError if it is missing or may not be read, FormatError if it is not a regular file.
 * @example const magic = openFile('model.gguf').read(0, 4)
 */
export function openFile(path: string): ByteSource {
  let descriptor: number | undefined
  let size: number
  try {
    // Asked before opening: to open a named pipe would wait for a writer.
    if (!fs.statSync(path).isFile())
      throw new FormatError(`${printable(path)}: a regular file is needed, this is something else`, {
        code: 'PARE_E_NOT_A_FILE',
        facts: { path },
      })
    descriptor = fs.openSync(path, 'r')
    size = fs.fstatSync(descriptor).size
  } catch (error) {
    if (descriptor !== undefined) fs.closeSync(descriptor)
    throw error instanceof FormatError ? error : cannotRead(path, error)
  }
  return {
    name: path,
    size,
    read(offset, length) {
      checkRange(path, size, offset, length)
      if (descriptor === undefined)
        throw new FormatError(`${printable(path)}: is closed; open it again to read it`, { facts: { path } })
      return readFully(descriptor, path, offset, length)
    },
    close() {
      if (descriptor !== undefined) fs.closeSync(descriptor)
      descriptor = undefined
    },
  }
}

/** A source over bytes that are in memory already; `read` copies, so that callers own what they get. */
export function bytesSource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.length,
    read(offset, length) {
      checkRange(name, bytes.length, offset, length)
      return bytes.slice(offset, offset + length)
    },
    close() {},
  }
}

/** One call of the system moves at most about 2 GiB, and may move less than it was asked for. */
const CHUNK = 1 << 30

function readFully(descriptor: number, path: string, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let done = 0
  while (done < length) {
    let count: number
    try {
      count = fs.readSync(descriptor, bytes, done, Math.min(CHUNK, length - done), offset + done)
    } catch (error) {
      throw cannotRead(path, error)
    }
    if (count === 0)
      throw new FormatError(
        `${printable(path)}: needs ${length} bytes at ${offset}, the file ended after ${done}; it was cut while it was open`,
        { code: 'PARE_E_SHORT_READ', facts: { path, offset, length, found: done } },
      )
    done += count
  }
  return bytes
}

function checkRange(name: string, size: number, offset: number, length: number): void {
  if (
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(length) &&
    offset >= 0 &&
    length >= 0 &&
    offset <= size - length
  )
    return
  throw new FormatError(
    `${printable(name)}: ${length} bytes at ${offset} lie outside the ${size} bytes of the file; it is cut or damaged`,
    { code: 'PARE_E_SHORT_READ', facts: { path: name, offset, length, size } },
  )
}

function cannotRead(path: string, cause: unknown): SourceError {
  const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
  const wayOut =
    reason === 'ENOENT' || reason === 'ENOTDIR'
      ? 'there is no such file; check the path'
      : reason === 'EACCES' || reason === 'EPERM'
        ? 'this user may not read it; change its permissions'
        : `reading failed with ${reason}; check the disk`
  return new SourceError(`${printable(path)}: ${wayOut}`, {
    code: 'PARE_E_CANNOT_READ',
    facts: { path, reason },
    cause,
  })
}
