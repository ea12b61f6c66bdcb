/** Reads a pickle byte by byte through a small window: where it ends is known only at its end. */
import { damaged } from '../archive.ts'
import type { ByteSource } from '../file.ts'

const windowBytes = 1 << 16
/** A state of 100,000 tensors has some 30 MB. */
const longestPickle = 1 << 26

export class PickleCursor {
  readonly source: ByteSource
  /** Position of the next byte in the source. */
  position: number
  private readonly end: number
  private window: Uint8Array = new Uint8Array(0)
  private windowStart = 0

  /** @param length bytes that may be read, for a pickle whose end is known @default up to the end of the source */
  constructor(source: ByteSource, position: number, length = source.size - position) {
    this.source = source
    this.position = position
    this.windowStart = position
    this.end = position + Math.min(length, longestPickle)
  }

  byte(): number {
    const next = this.position < this.end ? this.window[this.position - this.windowStart] : undefined
    if (next === undefined) return this.bytes(1)[0]!
    this.position++
    return next
  }

  /** The next bytes; a view that stays as it is until the next call. */
  bytes(count: number): Uint8Array {
    const at = this.position
    if (count > this.end - at) {
      throw damaged(
        this.source.name,
        `a pickle needs ${count} bytes at ${at}, it may go on to ${this.end}; the file is cut, damaged or no state of a model`,
        'PARE_E_TORCH_PICKLE',
        { position: at },
      )
    }
    if (at + count > this.windowStart + this.window.length) {
      this.window = this.source.read(at, Math.max(count, Math.min(windowBytes, this.end - at)))
      this.windowStart = at
    }
    this.position += count
    return this.window.subarray(at - this.windowStart, this.position - this.windowStart)
  }

  /** A little-endian number of 1, 2 or 4 bytes. */
  unsigned(count: 1 | 2 | 4): number {
    return this.bytes(count).reduceRight((value, byte) => value * 256 + byte, 0)
  }

  /** Text up to a newline, which is read too. */
  line(longest: number): string {
    const bytes: number[] = []
    for (let byte = this.byte(); byte !== 0x0a; byte = this.byte()) {
      if (bytes.length === longest) {
        throw damaged(
          this.source.name,
          `a line of a pickle ends after ${longest} bytes at most; it is damaged`,
          'PARE_E_TORCH_PICKLE',
          { position: this.position },
        )
      }
      bytes.push(byte)
    }
    return String.fromCharCode(...bytes)
  }
}
