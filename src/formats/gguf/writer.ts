/** Writes GGUF version 3: metadata, tensor infos, then the data of each tensor, padded to the alignment. */

import { typeOfName } from '../../nn/block_types.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import { type ArchiveWriter, elementCount, type TensorInfo } from '../archive.ts'
import { createOutput } from '../output.ts'
import { placedWriter } from '../placed_writer.ts'
import { alignUp, DEFAULT_ALIGNMENT, isPowerOfTwo, LONGEST_NAME, MOST_AXES } from './container.ts'
import {
  ARRAY_TYPE,
  type GgufArray,
  type GgufMetadata,
  type GgufValue,
  type ScalarType,
  scalarId,
} from './metadata.ts'

/**
 * Starts a file. Tensors may come in any order and in parts: their places are known from the start, and they
 * stand in the order given here. `general.alignment` of the metadata sets the alignment. @default 32
 *
 * @throws OptionError if a name, type, shape or metadata value cannot be stored.
 * @example
 * const writer = createGguf('m.gguf', new Map([['general.architecture', gguf.string('llama')]]), [
 *   { name: 'output_norm.weight', type: 'F32', shape: [4] },
 * ])
 * writer.append('output_norm.weight', new Uint8Array(16))
 * writer.finish()
 */
export function createGguf(
  path: string,
  metadata: GgufMetadata,
  tensors: readonly TensorInfo[],
): ArchiveWriter {
  const layout = layOutGguf(metadata, tensors)
  const output = createOutput(path, { expectedBytes: layout.size })
  output.write(layout.head)
  // Padding is never written: what lies between the tensors is zero from the start.
  output.extendTo(layout.size)
  return placedWriter([{ output, tensors: layout.tensors }])
}

/** The bytes before the data, where each tensor goes, and the size of the whole file. */
export function layOutGguf(metadata: GgufMetadata, tensors: readonly TensorInfo[]) {
  const given = metadata.get('general.alignment')
  const alignment = given === undefined ? DEFAULT_ALIGNMENT : Number(given.value)
  if (given !== undefined && !(given.type === 'u32' && isPowerOfTwo(alignment)))
    throw new OptionError('general.alignment must be a u32 and a power of two; 32 is usual', {
      code: 'PARE_E_GGUF_VALUE',
    })
  const header = new Encoder()
  header.bytes(new TextEncoder().encode('GGUF'))
  header.u32(3)
  header.u64(tensors.length)
  header.u64(metadata.size)
  for (const [key, value] of metadata) writeValue(header, key, value)
  const placed: { name: string; offset: number; bytes: number }[] = []
  const names = new Set<string>()
  let offset = 0
  for (const tensor of tensors) {
    const bytes = checkTensor(tensor, names)
    header.string(tensor.name)
    header.u32(tensor.shape.length)
    for (const size of [...tensor.shape].reverse()) header.u64(size)
    header.u32(typeOfName(tensor.type)!.id)
    header.u64(offset)
    names.add(tensor.name)
    placed.push({ name: tensor.name, offset, bytes })
    offset = alignUp(offset + bytes, alignment)
  }
  header.padTo(alignment)
  const head = header.take()
  for (const tensor of placed) tensor.offset += head.length
  return { head, tensors: placed, size: head.length + offset, alignment }
}

/** @returns the bytes of the tensor. */
function checkTensor({ name, type, shape }: TensorInfo, taken: ReadonlySet<string>): number {
  const refuse = (what: string) =>
    new OptionError(`${printable(name)}: ${what}`, {
      code: 'PARE_E_GGUF_TENSOR',
      facts: { tensor: name, type, shape: [...shape] },
    })
  if (taken.has(name)) throw refuse('the name is taken; each tensor needs its own')
  const length = new TextEncoder().encode(name).length
  if (length > LONGEST_NAME)
    throw refuse(`the name has ${length} bytes, GGUF allows ${LONGEST_NAME}; shorten it`)
  if (shape.length > MOST_AXES) throw refuse(`has ${shape.length} axes, GGUF allows ${MOST_AXES}; reshape it`)
  const elements = elementCount(shape)
  if (elements === undefined) throw refuse(`has the impossible shape [${shape}]; sizes are integers from 0`)
  const known = typeOfName(type)
  if (!known) throw refuse(`GGUF has no type ${printable(type)}; choose one such as F16 or Q4_K`)
  const columns = shape.at(-1) ?? 1
  if (columns % known.blockLength !== 0)
    throw refuse(
      `rows of ${columns} do not fill blocks of ${known.blockLength}; choose another type than ${type}`,
    )
  return (elements / known.blockLength) * known.blockBytes
}

function writeValue(header: Encoder, key: string, given: GgufValue): void {
  if (key === '')
    throw new OptionError('a metadata value of GGUF needs a key; name it', { code: 'PARE_E_GGUF_VALUE' })
  header.string(key)
  if (given.type !== 'array') {
    header.u32(scalarId(given.type))
    writeScalar(header, key, given.type, given.value)
    return
  }
  const { element, value } = given as GgufArray
  header.u32(ARRAY_TYPE)
  header.u32(scalarId(element))
  header.u64(value.length)
  for (const item of value) writeScalar(header, key, element, item)
}

type Scalar = number | bigint | boolean | string

/** Least and largest value of the integer types. */
const ranges: Partial<Record<ScalarType, readonly [bigint, bigint]>> = {
  u8: [0n, 2n ** 8n - 1n],
  i8: [-(2n ** 7n), 2n ** 7n - 1n],
  u16: [0n, 2n ** 16n - 1n],
  i16: [-(2n ** 15n), 2n ** 15n - 1n],
  u32: [0n, 2n ** 32n - 1n],
  i32: [-(2n ** 31n), 2n ** 31n - 1n],
  u64: [0n, 2n ** 64n - 1n],
  i64: [-(2n ** 63n), 2n ** 63n - 1n],
}

function writeScalar(header: Encoder, key: string, type: ScalarType, value: Scalar): void {
  const refuse = (what: string) =>
    new OptionError(`${printable(key)}: ${printable(String(value))} ${what}`, {
      code: 'PARE_E_GGUF_VALUE',
      facts: { key, type },
    })
  if (type === 'string' || type === 'bool') {
    if (typeof value !== (type === 'bool' ? 'boolean' : 'string'))
      throw refuse(`is no ${type}; convert it first`)
    if (type === 'bool') header.u8(value ? 1 : 0)
    else header.string(value as string)
    return
  }
  const range = ranges[type]
  if (!range) {
    if (typeof value !== 'number') throw refuse(`is no ${type}; convert it first`)
    header[type as 'f32' | 'f64'](value)
    return
  }
  if (typeof value !== 'bigint' && !Number.isSafeInteger(value))
    throw refuse(`is no exact integer for ${type}; give a bigint above 2^53`)
  const exact = BigInt(value as number | bigint)
  if (exact < range[0] || exact > range[1]) throw refuse(`does not fit into ${type}; choose a wider type`)
  if (type === 'u64' || type === 'i64') header.u64(exact)
  else header.integer(Number(exact), type.endsWith('8') ? 1 : type.endsWith('16') ? 2 : 4)
}

/** A growing little-endian buffer. */
class Encoder {
  #buffer = new Uint8Array(1 << 16)
  #view = new DataView(this.#buffer.buffer)
  #length = 0

  u8 = (value: number): void => this.integer(value, 1)
  u32 = (value: number): void => this.integer(value, 4)
  f32 = (value: number): void => this.#put(4, (view, start) => view.setFloat32(start, value, true))
  f64 = (value: number): void => this.#put(8, (view, start) => view.setFloat64(start, value, true))
  /** Negative numbers in two's complement. */
  u64 = (value: number | bigint): void =>
    this.#put(8, (view, start) => view.setBigUint64(start, BigInt.asUintN(64, BigInt(value)), true))

  /** The low bytes of an integer in two's complement. */
  integer(value: number, bytes: 1 | 2 | 4): void {
    const start = this.#grow(bytes)
    for (let i = 0; i < bytes; i++) this.#buffer[start + i] = value >> (8 * i)
  }

  string(text: string): void {
    const encoded = new TextEncoder().encode(text)
    this.u64(encoded.length)
    this.bytes(encoded)
  }

  bytes(bytes: Uint8Array): void {
    // The buffer may be replaced while it grows, so its place is asked for first.
    const start = this.#grow(bytes.length)
    this.#buffer.set(bytes, start)
  }

  padTo(alignment: number): void {
    this.#grow(alignUp(this.#length, alignment) - this.#length)
  }

  take(): Uint8Array {
    return this.#buffer.slice(0, this.#length)
  }

  /** Growing may replace the buffer, so it comes before the view is taken. */
  #put(bytes: number, set: (view: DataView, start: number) => void): void {
    const start = this.#grow(bytes)
    set(this.#view, start)
  }

  #grow(bytes: number): number {
    const start = this.#length
    this.#length += bytes
    if (this.#length > this.#buffer.length) {
      const larger = new Uint8Array(2 ** Math.ceil(Math.log2(this.#length)))
      larger.set(this.#buffer.subarray(0, start))
      this.#buffer = larger
      this.#view = new DataView(larger.buffer)
    }
    return start
  }
}
