/**
 * Reads the wire format of protocol buffers by position, so that a field of gigabytes is stepped over and not read.
 *
 *   message   field*                 field   varint(number * 8 + type), then
 *   type 0    varint                 type 1  8 bytes     type 5  4 bytes
 *   type 2    varint length, bytes   types 3 and 4 are groups, which ONNX never had: refused
 *
 * https://protobuf.dev/programming-guides/encoding
 */
import { damaged } from '../archive.ts'
import type { ByteSource } from '../file.ts'
import { Fields, type Span } from './protobuf_fields.ts'

/** Read ahead: little behind a jump, more and more while bytes are read one after the other. */
const [leastWindow, mostWindow] = [1 << 12, 1 << 18]
/** Ensembles of trees hold millions of numbers as fields of their own. */
const mostFields = 1 << 24
/** Nodes, attributes, tensors, values: a graph of 100,000 nodes has some 500,000. */
const mostMessages = 1 << 20
/** Bytes of names, texts and packed numbers together. */
const mostText = 1 << 27
/** What each of them takes besides its bytes. */
const textOverhead = 64
/**
 * Bytes of memory that the structure may take beside twice the file, and what is counted for an object, a text beside its
 * bytes, and a number. A node of two bytes becomes an object of a hundred times as many.
 */
const [freeMemory, perMessage, perText, perNumber] = [48 * 2 ** 20, 256, 32, 8]

/** A file of one message, with limits on the work and memory that all its parts together may cost. */
export class ProtobufFile {
  readonly source: ByteSource
  #window: Buffer = Buffer.alloc(0)
  #windowStart = 0
  #windowSize = leastWindow
  #fields = 0
  #messages = 0
  #text = 0
  #memory = 0
  readonly #mostMemory: number
  readonly #mostText: number
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

  /** `longText`: bytes that all texts and packed numbers may have together; more lifts the limit on memory too. @default 2^27 */
  constructor(source: ByteSource, longText = mostText) {
    this.source = source
    this.#mostText = longText
    this.#mostMemory = longText > mostText ? Number.POSITIVE_INFINITY : freeMemory + 2 * source.size
  }

  fail(what: string, facts: Record<string, string | number> = {}): Error {
    return damaged(this.source.name, what, 'PARE_E_ONNX', facts)
  }

  /** The fields of a message that is kept as an object. */
  message(span: Span): Fields {
    if (++this.#messages > mostMessages)
      throw this.fail(`has more than ${mostMessages} nodes, values and attributes; it is damaged or hostile`)
    this.#keep(perMessage)
    return new Fields(this, span)
  }

  /** As `message`, where nothing is kept but what its fields hold. */
  part = (span: Span): Fields => new Fields(this, span)

  /** @internal */
  countField(): void {
    if (++this.#fields > mostFields)
      throw this.fail(`has more than ${mostFields} fields; it is damaged or hostile`)
  }

  /** @internal The byte at a position inside of the file. */
  byte(position: number): number {
    const at = position - this.#windowStart
    if (at >= 0 && at < this.#window.length) return this.#window[at]!
    const next = this.#windowStart + this.#window.length
    const near = position >= next && position < next + leastWindow
    this.#windowSize = near ? Math.min(mostWindow, 2 * this.#windowSize) : leastWindow
    const length = Math.min(this.#windowSize, this.source.size - position)
    const bytes = this.source.read(position, length)
    this.#window = Buffer.from(bytes.buffer, bytes.byteOffset, length)
    this.#windowStart = position
    return this.#window[0]!
  }

  /** Bytes that are kept, which the limit on texts counts. */
  bytes({ start, end }: Span): Uint8Array {
    const length = end - start
    this.#charge(length, start)
    if (length === 0) return new Uint8Array(0)
    // Through the window, since most names are short.
    this.byte(start)
    const at = start - this.#windowStart
    return at + length <= this.#window.length
      ? new Uint8Array(this.#window.subarray(at, at + length))
      : this.source.read(start, length)
  }

  /** @internal Numbers that are kept one by one. */
  keepNumbers = (count: number): void => this.#keep(count * perNumber)

  #keep(bytes: number): void {
    this.#memory += bytes
    if (this.#memory > this.#mostMemory)
      throw this.fail(
        `has a structure of more than ${this.#mostMemory} bytes in memory; it is damaged or hostile`,
        { most: this.#mostMemory },
      )
  }

  #charge(length: number, position: number): void {
    this.#keep(length + perText)
    this.#text += length + textOverhead
    if (this.#text > this.#mostText)
      throw this.fail(
        `has more than ${this.#mostText} bytes of names, texts and numbers; it is damaged or hostile`,
        { position },
      )
  }

  /** @throws FormatError where it is not UTF-8. */
  text(span: Span): string {
    const text = this.#asciiText(span) ?? this.textOrBytes(span)
    if (typeof text === 'string') return text
    throw this.fail('holds a name that is not valid UTF-8; it is damaged', { position: span.start })
  }

  /** Most names are short and in the window, where no decoder is needed. */
  #asciiText({ start, end }: Span): string | undefined {
    const [from, to] = [start - this.#windowStart, end - this.#windowStart]
    if (from < 0 || to > this.#window.length) return undefined
    for (let i = from; i < to; i++) if (this.#window[i]! > 127) return undefined
    this.#charge(end - start, start)
    return this.#window.toString('latin1', from, to)
  }

  /** Text where it is UTF-8. */
  textOrBytes(span: Span): string | Uint8Array {
    const bytes = this.bytes(span)
    try {
      return this.#utf8.decode(bytes)
    } catch {
      return bytes
    }
  }
}
