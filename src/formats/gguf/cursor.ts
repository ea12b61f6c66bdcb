/** Walks through the header of a GGUF file: every promised length is checked before memory is taken for it. */
import { damaged } from '../archive.ts'
import type { ByteSource } from '../file.ts'
import { StringBytes, stepOver } from './string_bytes.ts'

/** Read ahead, so that a header of many small values costs few calls. */
const WINDOW = 1 << 20

export class Cursor {
  /** Position in the file of the next byte. */
  position = 0
  readonly #source: ByteSource
  readonly #limit: number
  #window: Uint8Array = new Uint8Array(0)
  #view: DataView = new DataView(new ArrayBuffer(0))
  #windowStart = 0
  readonly #text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

  /** `limit`: the most bytes a header may have. */
  constructor(source: ByteSource, limit: number) {
    this.#source = source
    this.#limit = Math.min(limit, source.size)
  }

  /** Bytes that the header may still have. */
  get remaining(): number {
    return this.#limit - this.position
  }

  fail(what: string, facts: Record<string, string | number> = {}): Error {
    return damaged(this.#source.name, what, 'PARE_E_GGUF_HEADER', { position: this.position, ...facts })
  }

  u8 = (): number => this.#get(1, (view, start) => view.getUint8(start))
  i8 = (): number => this.#get(1, (view, start) => view.getInt8(start))
  u16 = (): number => this.#get(2, (view, start) => view.getUint16(start, true))
  i16 = (): number => this.#get(2, (view, start) => view.getInt16(start, true))
  u32 = (): number => this.#get(4, (view, start) => view.getUint32(start, true))
  i32 = (): number => this.#get(4, (view, start) => view.getInt32(start, true))
  f32 = (): number => this.#get(4, (view, start) => view.getFloat32(start, true))
  f64 = (): number => this.#get(8, (view, start) => view.getFloat64(start, true))
  u64 = (): bigint => this.#get(8, (view, start) => view.getBigUint64(start, true))
  i64 = (): bigint => this.#get(8, (view, start) => view.getBigInt64(start, true))

  /** A u64 that counts things of at least `leastBytes` each, which must fit into what is left. */
  count(what: string, leastBytes: number): number {
    const start = this.#advance(8)
    const possible = Math.floor(this.remaining / leastBytes)
    // As two halves: a vocabulary has a hundred thousand of them, and a bigint takes its time.
    const [low, high] = [this.#view.getUint32(start, true), this.#view.getUint32(start + 4, true)]
    if (high === 0 && low <= possible) return low
    const promised = String((BigInt(high) << 32n) | BigInt(low))
    throw this.fail(
      `promises ${promised} ${what}, at most ${possible} fit into the rest; it is cut or damaged`,
      { promised, possible },
    )
  }

  bytes(length: number): Uint8Array {
    const start = this.#advance(length)
    return this.#window.slice(start, start + length)
  }

  string(what: string, longest = Number.POSITIVE_INFINITY): string {
    const length = this.count(`bytes of ${what}`, 1)
    if (length > longest)
      throw this.fail(`${what} has ${length} bytes, at most ${longest} are allowed; it is damaged`, {
        length,
      })
    const start = this.#advance(length)
    try {
      return this.#text.decode(this.#window.subarray(start, start + length))
    } catch {
      throw this.fail(`${what} is not valid UTF-8; it is damaged`)
    }
  }

  /** `count` strings, checked and left as bytes. */
  strings(what: string, count: number): StringBytes {
    const bytesOf = `bytes of ${what}`
    const strings = new StringBytes()
    for (let left = count; left > 0; ) {
      // The next one, with its length, is brought into the window; as many others as follow it there come along.
      const length = this.count(bytesOf, 1)
      this.position -= 8
      const start = this.#advance(8 + length)
      const { end, steps, valid } = stepOver(this.#window, start, left)
      if (!valid) throw this.fail(`${what} is not valid UTF-8; it is damaged`)
      strings.add(this.#window, start, end)
      this.position = this.#windowStart + end
      left -= steps
    }
    return strings
  }

  /** Advancing may replace the window, so it comes before the view is taken. */
  #get<T>(length: number, get: (view: DataView, start: number) => T): T {
    const start = this.#advance(length)
    return get(this.#view, start)
  }

  /** Makes `length` bytes available and steps over them; gives where they start in the window. */
  #advance(length: number): number {
    if (length > this.remaining)
      throw this.fail(
        `the header needs ${length} more bytes and ${this.remaining} are left; it is cut or damaged`,
      )
    let start = this.position - this.#windowStart
    if (start < 0 || start + length > this.#window.length) {
      this.#windowStart = this.position
      this.#window = this.#source.read(
        this.position,
        Math.min(this.remaining, Math.max(this.#source.readAhead ?? WINDOW, length)),
      )
      this.#view = new DataView(this.#window.buffer, this.#window.byteOffset, this.#window.byteLength)
      start = 0
    }
    this.position += length
    return start
  }
}
