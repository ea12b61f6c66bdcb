/**
 * An array of strings as the bytes that a GGUF file holds, each a u64 length and UTF-8: to make strings of a vocabulary
 * takes longer than to read all the rest of a header.
 */
import { isUtf8 } from 'node:buffer'

/** Bytes of a length. */
const PREFIX = 8

/** Whole strings, one behind another with their lengths. */
interface Segment {
  bytes: Uint8Array
  start: number
  end: number
}

/**
 * Steps over up to `count` strings from `start` on, as far as they lie in `bytes` as a whole.
 *
 * Lengths whose bytes are below 128 are ASCII themselves, and a character does not go on through them. So strings between
 * two other lengths are valid where all their bytes together are.
 */
export function stepOver(bytes: Uint8Array, start: number, count: number) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let [at, steps, checked, valid] = [start, 0, start, true]
  while (steps < count && at + PREFIX <= bytes.length) {
    const length = view.getUint32(at, true)
    if (length > bytes.length - at - PREFIX || view.getUint32(at + 4, true) !== 0) break
    if ((length & 0x80808080) !== 0) {
      valid &&= isUtf8(bytes.subarray(checked, at))
      checked = at + PREFIX
    }
    at += PREFIX + length
    steps++
  }
  return { end: at, steps, valid: valid && isUtf8(bytes.subarray(checked, at)) }
}

/** Strings in the order in which their bytes were added. @example new StringBytes().toArray() // [] */
export class StringBytes {
  readonly #segments: Segment[] = []

  /** Keeps the bytes; they hold whole strings from `start` to `end`. */
  add(bytes: Uint8Array, start: number, end: number): void {
    this.#segments.push({ bytes, start, end })
  }

  toArray(): string[] {
    const strings: string[] = []
    for (const { bytes, start, end } of this.#segments) {
      const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
      for (let at = start; at < end; ) {
        const from = at + PREFIX
        at = from + text.readUInt32LE(at)
        strings.push(text.toString('utf8', from, at))
      }
    }
    return strings
  }
}
