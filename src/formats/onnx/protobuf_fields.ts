/** The fields of one message of protocol buffers, stepped over by position: what no one asks for is not read. */
import type { ProtobufFile } from './protobuf.ts'

/** A range of bytes in a file, `end` exclusive. */
export interface Span {
  readonly start: number
  readonly end: number
}

export const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const

/** A whole number; a bigint only where no double holds it. */
export type Whole = number | bigint

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
