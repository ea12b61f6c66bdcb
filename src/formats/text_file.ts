/** Text files and pipes, read from front to end in bounded memory. */
import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs'
import { FormatError, OptionError, printable } from '../tensor/errors.ts'
import { cannotRead } from './cannot_read.ts'

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

/** Bytes of a file in memory at a time. */
const PIECE = 1 << 16

/** Bytes of the longest text file that is read. */
const LONGEST_FILE = 2 ** 30

/**
 * The text of a file in pieces, without a byte order mark; bytes that are no UTF-8 become U+FFFD.
 *
 * @throws FormatError (PARE_E_NO_TEXT) for what is packed, or has a byte 0 as UTF-16, images and programs have
 */
export function* readText(file: string): Generator<string> {
  let descriptor: number | undefined
  try {
    const utf8 = new TextDecoder('utf-8')
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
      const piece = bytes.subarray(0, count)
      checkIsText(file, piece, total - count)
      const text = utf8.decode(piece, { stream: count > 0 })
      if (text !== '') yield text
    }
  } catch (cause) {
    throw (cause as NodeJS.ErrnoException).syscall === undefined ? cause : cannotRead(file, cause)
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

function checkIsText(file: string, piece: Uint8Array, start: number): void {
  const refuse = (found: string, wayOut: string) => {
    throw new FormatError(`${printable(file)}: text in UTF-8 is needed, found ${found}; ${wayOut}`, {
      code: 'PARE_E_NO_TEXT',
      facts: { path: file },
    })
  }
  if (start === 0 && piece[0] === 0x1f && piece[1] === 0x8b) refuse('packed bytes (gzip)', 'unpack the file')
  const zero = piece.indexOf(0)
  if (zero >= 0) refuse(`a byte 0 at ${start + zero}`, 'give a text file, or convert it to UTF-8')
}

/** UTF-16 units of the longest text in one piece; a string of V8 ends at 2^29 - 24. */
export const LONGEST_TEXT = 2 ** 29 - 2 ** 10

/**
 * The whole text of a file.
 *
 * @param longest UTF-16 units
 * @throws OptionError (PARE_E_LONG_TEXT) for a longer text, and what `readText` throws
 */
export function wholeText(file: string, longest = LONGEST_TEXT): string {
  const pieces: string[] = []
  let length = 0
  for (const piece of readText(file)) {
    length += piece.length
    if (length > longest)
      throw new OptionError(
        `${printable(file)}: a text of at most ${longest} characters is read in one piece, it has more; split it into several files`,
        { code: 'PARE_E_LONG_TEXT', facts: { path: file, limit: longest } },
      )
    pieces.push(piece)
  }
  return pieces.join('')
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
