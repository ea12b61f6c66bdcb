/** Writes the wire format of protocol buffers in parts: bytes at hand, ranges of another file, room for what comes later. */

import type { ByteSource } from '../file.ts'
import { createOutput } from '../output.ts'
import type { PlacedFile } from '../placed_writer.ts'
import { type Span, type Whole, wire } from './protobuf_fields.ts'

/** Bytes of a message: as they are, copied from a source, or `bytes` of them left free for the tensor `name`. */
export type Part = Uint8Array | Span | { readonly name: string; readonly bytes: number }

export const partLength = (part: Part): number =>
  part instanceof Uint8Array ? part.length : 'name' in part ? part.bytes : part.end - part.start

export const partsLength = (parts: readonly Part[]): number =>
  parts.reduce((sum, part) => sum + partLength(part), 0)

/** The most bytes a message may have: readers of protocol buffers count them in 31 bits. */
export const longestMessage = 2 ** 31 - 1

const encoder = new TextEncoder()
const copyChunk = 1 << 23

/**
 * One message, written field by field in the order of the calls.
 *
 * @example new MessageWriter().whole(1, 8).text(2, 'pare').parts
 */
export class MessageWriter {
  readonly #parts: Part[] = []
  #buffer = new Uint8Array(64)
  #length = 0

  /** A number of 64 bits; negative ones in two's complement. */
  whole(field: number, value: Whole): this {
    this.#tag(field, wire.varint)
    this.#varint(value)
    return this
  }

  float(field: number, value: number): this {
    this.#tag(field, wire.fixed32)
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setFloat32(0, value, true)
    this.#put(bytes)
    return this
  }

  text = (field: number, value: string): this => this.bytes(field, encoder.encode(value))

  bytes(field: number, value: Uint8Array): this {
    this.#tag(field, wire.bytes)
    this.#varint(value.length)
    this.#put(value)
    return this
  }

  /** A field that holds a message, or anything of several parts. */
  message(field: number, content: readonly Part[]): this {
    this.#tag(field, wire.bytes)
    this.#varint(partsLength(content))
    return this.append(content)
  }

  /** Fields that are encoded already. */
  append(parts: readonly Part[]): this {
    for (const part of parts) {
      if (part instanceof Uint8Array) this.#put(part)
      else {
        this.#flush()
        this.#parts.push(part)
      }
    }
    return this
  }

  get parts(): Part[] {
    this.#flush()
    return [...this.#parts]
  }

  #tag(field: number, type: number): void {
    this.#varint(field * 8 + type)
  }

  #varint(value: Whole): void {
    let rest = typeof value === 'number' && value >= 0 ? value : BigInt.asUintN(64, BigInt(value))
    this.#grow(10)
    for (; typeof rest === 'bigint' && rest > Number.MAX_SAFE_INTEGER; rest >>= 7n)
      this.#buffer[this.#length++] = Number(rest & 127n) | 128
    for (rest = Number(rest); rest > 127; rest = Math.floor(rest / 128))
      this.#buffer[this.#length++] = (rest % 128) | 128
    this.#buffer[this.#length++] = rest
  }

  #put(bytes: Uint8Array): void {
    this.#grow(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
  }

  #grow(bytes: number): void {
    const needed = this.#length + bytes
    if (needed <= this.#buffer.length) return
    const larger = new Uint8Array(Math.max(needed, 2 * this.#buffer.length))
    larger.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = larger
  }

  #flush(): void {
    if (this.#length > 0) this.#parts.push(this.#buffer.slice(0, this.#length))
    this.#length = 0
  }
}

/**
 * Starts the file of a message: what is at hand or copied is written, the places of tensors are left free.
 *
 * @param source where `Span` parts are copied from
 */
export function placeMessage(path: string, parts: readonly Part[], source?: ByteSource): PlacedFile {
  const output = createOutput(path, { expectedBytes: partsLength(parts) })
  try {
    const tensors: PlacedFile['tensors'][number][] = []
    let position = 0
    for (const part of parts) {
      const bytes = partLength(part)
      if (part instanceof Uint8Array) output.writeAt(position, part)
      else if ('name' in part) tensors.push({ name: part.name, offset: position, bytes })
      else {
        for (let done = 0; done < bytes; done += copyChunk)
          output.writeAt(position + done, source!.read(part.start + done, Math.min(copyChunk, bytes - done)))
      }
      position += bytes
    }
    output.extendTo(position)
    return { output, tensors }
  } catch (error) {
    output.abort()
    throw error
  }
}
