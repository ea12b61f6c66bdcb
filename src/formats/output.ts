/**
 * Files written safely: under a temporary name in the same folder, flushed, then renamed. Whoever looks sees
 * the old file or the whole new one.
 */
import { randomBytes } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import { type PareError, printable, ResourceError, SourceError } from '../tensor/errors.ts'
import { disk } from './disk.ts'

/** A file that exists only once it is complete. */
export interface OutputFile {
  /** Where it will stand. */
  readonly path: string
  /** Bytes from the start to the last byte written. */
  readonly size: number
  /** Writes at the end. */
  write(bytes: Uint8Array): void
  /** Writes at a position; what nobody writes between two positions is zero. */
  writeAt(position: number, bytes: Uint8Array): void
  /** Makes the file `size` bytes long, with zeros where nothing was written. */
  extendTo(size: number): void
  /** Flushes to the disk and closes; only `commit` and `abort` may follow. */
  seal(): void
  /** Seals and renames to `path`, replacing what stood there. */
  commit(): void
  /** Removes the temporary file; does nothing after `commit`. */
  abort(): void
}

export interface OutputOptions {
  /** Bytes the whole file will have, named in the message when the disk is full. */
  expectedBytes?: number
  /** The way out where the system takes no file of this size. @default another folder, or a higher limit */
  whenTooLarge?: string
}

/** Whether a name is that of a file that was being written when its process ended. */
export const isUnfinished = (name: string): boolean => /^\..*\.[0-9a-f]{12}\.part$/s.test(name)

/**
 * Starts a file. A write that fails removes the temporary file before it throws.
 *
 * @throws SourceError if the folder is missing or may not be written.
 * @throws ResourceError (exit 5) from any write when the disk or the quota is full.
 * @example
 * const out = createOutput('weights.bin')
 * out.write(bytes)
 * out.commit()
 */
export function createOutput(path: string, { expectedBytes, whenTooLarge }: OutputOptions = {}): OutputFile {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.part`)
  let descriptor: number | undefined
  let exists = false
  let size = 0

  const abort = (): void => {
    if (descriptor !== undefined) disk().close(descriptor)
    descriptor = undefined
    if (exists) disk().remove(temporary)
    exists = false
  }
  /** Runs a step; whatever fails leaves nothing behind. */
  const attempt = <T>(step: () => T, needed: number): T => {
    try {
      return step()
    } catch (error) {
      abort()
      throw writeFailure(error, path, Math.max(needed, expectedBytes ?? 0), whenTooLarge)
    }
  }
  const open = (): number => {
    if (descriptor === undefined) throw new Error(`${printable(path)} is sealed and takes no more bytes`)
    return descriptor
  }
  const output: OutputFile = {
    path,
    get size() {
      return size
    },
    write: (bytes) => output.writeAt(size, bytes),
    writeAt(position, bytes) {
      const file = open()
      // Writing nothing does not make a file longer.
      if (bytes.length === 0) return
      const end = position + bytes.length
      attempt(() => disk().write(file, bytes, position), end)
      size = Math.max(size, end)
    },
    extendTo(length) {
      const file = open()
      if (length <= size) return
      attempt(() => disk().truncate(file, length), length)
      size = length
    },
    seal() {
      if (descriptor === undefined) return
      const file = descriptor
      attempt(() => {
        disk().syncFile(file)
        descriptor = undefined
        disk().close(file)
      }, size)
    },
    commit() {
      output.seal()
      if (!exists) throw new Error(`${printable(path)} was aborted or committed before`)
      attempt(() => disk().rename(temporary, path), size)
      exists = false
      disk().syncFolder(dirname(path))
    },
    abort,
  }
  descriptor = attempt(() => disk().create(temporary), 0)
  exists = true
  return output
}

/** Writes a whole small file (an index, a configuration) the safe way. */
export function writeWhole(path: string, content: Uint8Array | string): void {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
  const output = createOutput(path, { expectedBytes: bytes.length })
  output.write(bytes)
  output.commit()
}

/** What helps for every file. */
const higherLimit = 'raise the limit (ulimit -f), or write to another file system'

/**
 * What a failed write means to the user: `needed` is the size in bytes that the file would have had, `whenTooLarge` what
 * helps where that is more than the system allows.
 */
export function writeFailure(
  cause: unknown,
  path: string,
  needed: number,
  whenTooLarge = higherLimit,
): PareError {
  const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
  const details = { facts: { path, needed, reason }, cause }
  const name = printable(path)
  if (reason === 'ENOSPC')
    return new ResourceError(
      `${name}: needs ${needed} bytes and the disk is full; free space or write to another folder`,
      { ...details, code: 'PARE_E_DISK_FULL' },
    )
  if (reason === 'EDQUOT')
    return new ResourceError(
      `${name}: needs ${needed} bytes and the quota of this user is used up; free space or write to another folder`,
      { ...details, code: 'PARE_E_DISK_FULL' },
    )
  if (reason === 'EFBIG')
    return new ResourceError(
      `${name}: needs ${needed} bytes, more than the file system or the limits of this process allow; ${whenTooLarge}`,
      { ...details, code: 'PARE_E_FILE_TOO_LARGE' },
    )
  return new SourceError(
    `${name}: cannot be written (${reason}); check that the folder exists and is writable`,
    {
      ...details,
      code: 'PARE_E_CANNOT_WRITE',
    },
  )
}
