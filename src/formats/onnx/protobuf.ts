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

/** A range of bytes in a file, `end` exclusive. */
export interface Span {
  readonly start: number
  readonly end: number
}

export const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const

/** A whole number; a bigint only where no double holds it. */
export type Whole = number | bigint

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

/**
 * A walk over the fields of one message. `next` steps to a field; what its content is, is asked for or skipped.
 *
 * @example
 * const fields = file.message({ start: 0, end: file.source.size })
 * while (fields.next()) if (fields.number === 7) graph = fields.value()
 */
export class Fields {
  /** Of the field that `next` found. */
  number = 0
  type = 0
  /** Its first byte, that of the tag. */
  start = 0
  /** Its content: behind the length where it has one. */
  valueStart = 0
  end: number
  readonly #file: ProtobufFile
  readonly #limit: number
  // The two halves of the last varint.
  #low = 0
  #high = 0

  constructor(file: ProtobufFile, span: Span) {
    this.#file = file
    this.#limit = span.end
    this.end = span.start
  }

  /** Steps to the next field; false at the end of the message. @throws FormatError for what is no field. */
  next(): boolean {
    const start = this.end
    if (start >= this.#limit) return false
    this.#file.countField()
    let at = this.#varint(start)
    const tag = this.#unsigned()
    this.start = start
    this.number = Math.floor(tag / 8)
    this.type = tag % 8
    if (this.number === 0 || this.number >= 2 ** 29)
      throw this.#fail(`has a field with the number ${this.number}`, start)
    let length = 0
    if (this.type === wire.bytes) {
      at = this.#varint(at)
      length = this.#unsigned()
    } else if (this.type === wire.fixed64) length = 8
    else if (this.type === wire.fixed32) length = 4
    else if (this.type !== wire.varint)
      throw this.#fail(`has a field of the unknown wire type ${this.type}`, start)
    this.valueStart = at
    if (this.type === wire.varint) this.end = this.#varint(at)
    else {
      if (length > this.#limit - at)
        throw this.#fail(`has a field of ${length} bytes where ${this.#limit - at} are left`, start)
      this.end = at + length
    }
    return true
  }

  /** The whole field, with its tag. */
  field = (): Span => ({ start: this.start, end: this.end })

  /** What a field of bytes holds: a text, a message, packed numbers. */
  value(): Span {
    this.#need(wire.bytes)
    return { start: this.valueStart, end: this.end }
  }

  text = (): string => this.#file.text(this.value())

  /** A signed number of 64 bits (int32, int64, enum). */
  whole(): Whole {
    this.#need(wire.varint)
    return this.#signed()
  }

  /** A number that counts or names something: 0 to 2^53 - 1. */
  natural(what: string): number {
    const value = this.whole()
    if (typeof value === 'number' && value >= 0) return value
    throw this.#fail(`has ${value} for ${what}`, this.start)
  }

  float(): number {
    this.#need(wire.fixed32)
    return this.#view(this.valueStart, 4).getFloat32(0, true)
  }

  /** The numbers of a repeated field: packed, or one of many. */
  eachWhole(take: (value: Whole) => void): void {
    if (this.type !== wire.bytes) {
      this.#file.keepNumbers(1)
      take(this.whole())
      return
    }
    const { start, end } = this.value()
    const packed = this.#file.bytes({ start, end })
    for (let at = 0; at < packed.length; ) {
      this.#file.keepNumbers(1)
      at = this.#varint(at, packed)
      take(this.#signed())
    }
  }

  /** As `eachWhole`, of f32. */
  eachFloat(take: (value: number) => void): void {
    if (this.type !== wire.bytes) {
      this.#file.keepNumbers(1)
      take(this.float())
      return
    }
    const packed = this.#file.bytes(this.value())
    this.#file.keepNumbers(packed.length / 4)
    if (packed.length % 4 !== 0) throw this.#fail(`packs floats in ${packed.length} bytes`, this.start)
    const view = new DataView(packed.buffer, packed.byteOffset, packed.length)
    for (let at = 0; at < packed.length; at += 4) take(view.getFloat32(at, true))
  }

  #view(start: number, length: number): DataView {
    const bytes = this.#file.bytes({ start, end: start + length })
    return new DataView(bytes.buffer, bytes.byteOffset, length)
  }

  #need(type: number): void {
    if (this.type !== type)
      throw this.#fail(`has field ${this.number} as wire type ${this.type} where ${type} belongs`, this.start)
  }

  #fail(what: string, position: number): Error {
    return this.#file.fail(`${what} at byte ${position}; it is cut, damaged or no ONNX file`, { position })
  }

  /** Reads a varint of at most 64 bits, from the file or from bytes; gives the position behind it. */
  #varint(start: number, bytes?: Uint8Array): number {
    const limit = bytes ? bytes.length : this.#limit
    this.#low = 0
    this.#high = 0
    for (let i = 0; i < 10; i++) {
      if (start + i >= limit) throw this.#fail('ends within a number', start)
      const byte = bytes ? bytes[start + i]! : this.#file.byte(start + i)
      const bits = byte & 127
      if (i < 4) this.#low |= bits << (7 * i)
      else if (i === 4) {
        this.#low |= bits << 28
        this.#high = bits >> 4
      } else this.#high |= bits << (7 * i - 32)
      // The tenth byte holds the last bit.
      if (i === 9 && byte > 1) break
      if (byte < 128) return start + i + 1
    }
    throw this.#fail('has a number of more than 64 bits', start)
  }

  #signed(): Whole {
    const value = (this.#high | 0) * 2 ** 32 + (this.#low >>> 0)
    return Number.isSafeInteger(value) ? value : (BigInt(this.#high | 0) << 32n) | BigInt(this.#low >>> 0)
  }

  /** Inexact above 2^53, which nothing that uses it allows. */
  #unsigned = (): number => (this.#high >>> 0) * 2 ** 32 + (this.#low >>> 0)
}
