/** Text files and pipes, read from front to end in bounded memory. */
import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs'
import { OptionError, printable, SourceError } from '../tensor/errors.ts'

/** @throws SourceError for the first file that cannot be read; none is opened. */
export function checkTexts(files: readonly string[]): void {
  for (const file of files) checkFile(file)
}

/** A pipe is read as well; a device may have no end. */
function checkFile(file: string): void {
  try {
    const status = statSync(file)
    if (status.isDirectory()) throw Object.assign(new Error('a folder'), { code: 'EISDIR' })
    if (!status.isFile() && !status.isFIFO()) throw Object.assign(new Error('a device'), { code: 'no file' })
    accessSync(file, constants.R_OK)
  } catch (cause) {
    throw cannotRead(file, cause)
  }
}

function cannotRead(file: string, cause: unknown): SourceError {
  const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
  return new SourceError(`${printable(file)}: cannot be read (${reason}); check the path`, {
    code: 'PARE_E_CANNOT_READ',
    facts: { path: file, reason },
    cause,
  })
}

/** Bytes of a file in memory at a time. */
const PIECE = 1 << 16

/** Bytes of the longest text file that is read. */
const LONGEST_FILE = 2 ** 30

/** The text of a file in pieces; bytes that are no UTF-8 become U+FFFD. */
export function* readText(file: string): Generator<string> {
  let descriptor: number | undefined
  try {
    const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
    const bytes = new Uint8Array(PIECE)
    descriptor = openSync(file, 'r')
    let total = 0
    for (let count = -1; count !== 0; ) {
      count = readSync(descriptor, bytes)
      total += count
      if (total > LONGEST_FILE)
        throw new OptionError(
          `${printable(file)}: has more than ${LONGEST_FILE} bytes, as many are read; cut it`,
        )
      const text = utf8.decode(bytes.subarray(0, count), { stream: count > 0 })
      if (text !== '') yield text
    }
  } catch (cause) {
    throw (cause as NodeJS.ErrnoException).syscall === undefined ? cause : cannotRead(file, cause)
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

/** Longest row that is read, in UTF-16 units. */
const LONGEST_ROW = 2 ** 23

/** The lines of a text file, without their ends; at most one is in memory. */
export function* readLines(file: string): Generator<string> {
  let parts: string[] = []
  let length = 0
  for (const text of readText(file)) {
    const [first, ...more] = text.split('\n')
    for (const [index, part] of [first!, ...more].entries()) {
      if (index > 0) {
        yield parts.join('')
        parts = []
        length = 0
      }
      parts.push(part)
      length += part.length
      if (length > LONGEST_ROW)
        throw new OptionError(
          `${printable(file)}: has a row of more than ${LONGEST_ROW} characters; split it into several`,
        )
    }
  }
  yield parts.join('')
}
