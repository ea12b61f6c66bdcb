/**
 * The header of a safetensors file: u64 length N, then N bytes of JSON, then the data buffer.
 *
 *   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"format": "pt"}}
 *
 * Sorted by offset the tensors tile the buffer exactly: no hole, no overlap, nothing behind the last.
 */
import { printable } from '../../tensor/errors.ts'
import { damaged, elementCount, type TensorEntry, type TensorInfo } from '../archive.ts'
import type { ByteSource } from '../file.ts'
import { isRecord, strictJson } from '../json.ts'
import { compareInFile, dtypeBytes } from './dtypes.ts'

/** The reference refuses longer headers. */
const LONGEST_HEADER = 100_000_000
const LENGTH_BYTES = 8

export interface SafetensorsHeader {
  /** In order of their place in the file. */
  tensors: TensorEntry[]
  metadata: Map<string, string>
}

/** Reads and checks the header of one file. @throws FormatError for every rule that is broken. */
export function readHeader(source: ByteSource): SafetensorsHeader {
  const file = source.name
  if (source.size < LENGTH_BYTES)
    throw damaged(
      file,
      `a safetensors file has at least 8 bytes, this one ${source.size}; it is cut`,
      'PARE_E_SAFETENSORS_HEADER',
      { size: source.size },
    )
  const announced = new DataView(source.read(0, LENGTH_BYTES).buffer).getBigUint64(0, true)
  if (announced > LONGEST_HEADER || announced > BigInt(source.size - LENGTH_BYTES))
    throw damaged(
      file,
      `announces a header of ${announced} bytes, at most ${Math.min(LONGEST_HEADER, source.size - LENGTH_BYTES)} are possible; it is cut or no safetensors file`,
      'PARE_E_SAFETENSORS_HEADER',
      { announced: String(announced), size: source.size },
    )
  const length = Number(announced)
  const bytes = source.read(LENGTH_BYTES, length)
  if (bytes[0] !== 0x7b)
    throw damaged(
      file,
      'the header must begin with {; it is no safetensors file',
      'PARE_E_SAFETENSORS_HEADER',
    )
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw damaged(file, 'the header is not valid UTF-8; it is damaged', 'PARE_E_SAFETENSORS_HEADER')
  }
  const header = strictJson(file, text, { depth: 4 })
  if (!isRecord(header))
    throw damaged(file, 'the header must be one JSON object; it is damaged', 'PARE_E_SAFETENSORS_HEADER')
  const dataStart = LENGTH_BYTES + length
  const tensors: TensorEntry[] = []
  let metadata = new Map<string, string>()
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') metadata = metadataOf(file, value)
    else tensors.push(entryOf(file, name, value, dataStart))
  }
  tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)
  checkTiling(file, tensors, dataStart, source.size)
  return { tensors, metadata }
}

function metadataOf(file: string, value: unknown): Map<string, string> {
  if (isRecord(value) && Object.values(value).every((text) => typeof text === 'string'))
    return new Map(Object.entries(value as Record<string, string>))
  throw damaged(file, '__metadata__ must map names to strings; it is damaged', 'PARE_E_SAFETENSORS_HEADER')
}

function entryOf(file: string, name: string, value: unknown, dataStart: number): TensorEntry {
  const refuse = (what: string) =>
    damaged(file, `tensor ${printable(name)} ${what}`, 'PARE_E_SAFETENSORS_TENSOR', { tensor: name })
  if (!isRecord(value)) throw refuse('must be described by an object; the header is damaged')
  const { dtype, shape, data_offsets: offsets } = value
  if (typeof dtype !== 'string') throw refuse('has no dtype; the header is damaged')
  const count = Array.isArray(shape) ? elementCount(shape as number[]) : undefined
  if (count === undefined)
    throw refuse('needs a shape of integers whose product is below 2^53; the header is damaged')
  if (dtypeBytes(dtype, 8) === undefined)
    throw refuse(`has the unknown dtype ${printable(dtype, 40)}; convert the file with a newer version`)
  const bytes = dtypeBytes(dtype, count)
  if (bytes === undefined)
    throw refuse(`of ${count} elements of ${dtype} fills no whole number of bytes; the header is damaged`)
  if (
    !Array.isArray(offsets) ||
    offsets.length !== 2 ||
    !offsets.every((o) => Number.isSafeInteger(o) && o >= 0)
  )
    throw refuse('needs two data_offsets, integers below 2^53; the header is damaged')
  const [begin, end] = offsets as [number, number]
  if (end - begin !== bytes)
    throw refuse(`needs ${bytes} bytes for its shape, its offsets span ${end - begin}; the header is damaged`)
  return { name, type: dtype, shape: shape as number[], bytes, offset: dataStart + begin, file }
}

function checkTiling(file: string, tensors: readonly TensorEntry[], dataStart: number, size: number): void {
  let position = dataStart
  for (const { name, offset, bytes } of tensors) {
    if (offset !== position)
      throw damaged(
        file,
        `tensor ${printable(name)} begins at byte ${offset}, the one before it ends at ${position}; holes and overlaps are not allowed`,
        'PARE_E_SAFETENSORS_LAYOUT',
        { tensor: name, offset, expected: position },
      )
    position += bytes
  }
  if (position !== size)
    throw damaged(
      file,
      `the tensors end at byte ${position}, the file at ${size}; it is ${position > size ? 'cut' : 'followed by foreign bytes'}`,
      'PARE_E_SAFETENSORS_LAYOUT',
      { end: position, size },
    )
}

/** What a file of these tensors looks like: its first bytes, and where each tensor goes. */
export interface SafetensorsLayout {
  /** Length, JSON and blanks up to a multiple of 8. */
  head: Uint8Array
  /** In file order. */
  tensors: (TensorInfo & { bytes: number; offset: number })[]
  /** Of the whole file. */
  size: number
}

/** Lays tensors out as the reference writer does; the sizes must be right (see `checkTensors`). */
export function layOut(
  tensors: readonly TensorInfo[],
  metadata: Readonly<Record<string, string>>,
): SafetensorsLayout {
  const parts = [`"__metadata__":${JSON.stringify(metadata)}`]
  if (Object.keys(metadata).length === 0) parts.pop()
  let position = 0
  const placed = [...tensors].sort(compareInFile).map((tensor) => {
    const bytes = dtypeBytes(tensor.type, elementCount(tensor.shape)!)!
    const offset = position
    position += bytes
    const description = { dtype: tensor.type, shape: tensor.shape, data_offsets: [offset, position] }
    parts.push(`${JSON.stringify(tensor.name)}:${JSON.stringify(description)}`)
    return { name: tensor.name, type: tensor.type, shape: tensor.shape, bytes, offset }
  })
  const json = new TextEncoder().encode(`{${parts.join(',')}}`)
  const length = Math.ceil(json.length / 8) * 8
  const head = new Uint8Array(LENGTH_BYTES + length).fill(0x20)
  new DataView(head.buffer).setBigUint64(0, BigInt(length), true)
  head.set(json, LENGTH_BYTES)
  for (const tensor of placed) tensor.offset += head.length
  return { head, tensors: placed, size: head.length + position }
}
