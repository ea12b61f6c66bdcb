/**
 * Reads GGUF, versions 2 and 3, little-endian.
 *
 *   magic, version, counts | metadata | tensor infos | padding | data, each tensor padded to the alignment
 *
 * Sizes stand in the file fastest axis first; here shapes are row-major, `[out, in]`, as everywhere in Pare.
 */

import { nameOfId, typeOfId, typeOfName } from '../../nn/block_types.ts'
import { printable } from '../../tensor/errors.ts'
import { archiveOver, damaged, elementCount, type TensorArchive, type TensorEntry } from '../archive.ts'
import { type ByteSource, openFile } from '../file.ts'
import { Cursor } from './cursor.ts'
import type { GgufValue } from './metadata.ts'
import { readMetadata } from './metadata_reader.ts'

export const DEFAULT_ALIGNMENT = 32
export const LONGEST_NAME = 63
export const MOST_AXES = 4
/** Far above any vocabulary, low enough that a hostile file cannot fill the memory. */
const LONGEST_HEADER = 1 << 27
/** Files of the largest models have some thousands. */
const MOST_TENSORS = 1 << 16
/** A tensor info: name length, number of axes, type and offset. */
const LEAST_INFO_BYTES = 8 + 4 + 4 + 8

export interface GgufArchive extends TensorArchive<GgufValue> {
  readonly version: 2 | 3
  readonly alignment: number
}

/**
 * Opens a GGUF file and checks its header; data is not read.
 *
 * A tensor of a type whose size is not known is listed with the bytes up to the next tensor, and refused when
 * it is read.
 *
 * @throws FormatError if a rule of the format is broken, SourceError if the file is missing.
 * @example
 * const archive = openGguf('model.gguf')
 * archive.metadata.get('general.architecture') // { type: 'string', value: 'llama' }
 */
export function openGguf(path: string): GgufArchive {
  return openGgufSource(openFile(path))
}

/** As `openGguf`, over an open source; `close` of the archive closes it, and so does a failure. */
export function openGgufSource(source: ByteSource): GgufArchive {
  try {
    return readGguf(source)
  } catch (error) {
    source.close()
    throw error
  }
}

function readGguf(source: ByteSource): GgufArchive {
  const cursor = new Cursor(source, LONGEST_HEADER)
  if (source.size < 4 || new TextDecoder('latin1').decode(cursor.bytes(4)) !== 'GGUF')
    throw cursor.fail('does not begin with GGUF; it is no GGUF file')
  const version = readVersion(cursor)
  const tensorCount = cursor.count('tensors', LEAST_INFO_BYTES)
  if (tensorCount > MOST_TENSORS)
    throw cursor.fail(`promises ${tensorCount} tensors, at most ${MOST_TENSORS} are read; it is damaged`)
  const metadata = readMetadata(cursor)
  const alignment = alignmentOf(cursor, metadata)
  const infos = readInfos(cursor, tensorCount)
  const tensors = place(source, infos, alignUp(cursor.position, alignment), alignment)
  const archive = archiveOver('gguf', new Map([[source.name, source]]), tensors, metadata, checkKnown)
  return { ...archive, version, alignment }
}

function readVersion(cursor: Cursor): 2 | 3 {
  const version = cursor.u32()
  if (version === 2 || version === 3) return version
  if (version === 0x02000000 || version === 0x03000000)
    throw cursor.fail('is a big-endian GGUF file; convert it on the machine that made it')
  throw cursor.fail(
    `has GGUF version ${version}, versions 2 and 3 are read; convert it with llama.cpp first`,
    {
      version,
    },
  )
}

function alignmentOf(cursor: Cursor, metadata: ReadonlyMap<string, GgufValue>): number {
  const given = metadata.get('general.alignment')
  if (given === undefined) return DEFAULT_ALIGNMENT
  if (given.type === 'u32' && isPowerOfTwo(given.value)) return given.value
  throw cursor.fail('general.alignment must be a u32 and a power of two; it is damaged')
}

export const isPowerOfTwo = (n: number): boolean => n > 0 && Number.isInteger(Math.log2(n))
export const alignUp = (position: number, alignment: number): number =>
  Math.ceil(position / alignment) * alignment

interface RawInfo {
  name: string
  shape: number[]
  elements: number
  typeId: number
  offset: bigint
}

function readInfos(cursor: Cursor, count: number): RawInfo[] {
  const infos: RawInfo[] = []
  const names = new Set<string>()
  for (let i = 0; i < count; i++) {
    const name = cursor.string('a tensor name', LONGEST_NAME)
    if (names.has(name))
      throw cursor.fail(`tensor ${printable(name)} stands twice; it is damaged`, { tensor: name })
    names.add(name)
    const axes = cursor.u32()
    if (axes > MOST_AXES)
      throw cursor.fail(
        `tensor ${printable(name)} has ${axes} axes, at most ${MOST_AXES} exist; it is damaged`,
        {
          tensor: name,
          axes,
        },
      )
    // Fastest axis first in the file. An u64 that no double holds becomes unsafe and is refused below.
    const shape = Array.from({ length: axes }, () => Number(cursor.u64())).reverse()
    const elements = elementCount(shape)
    if (elements === undefined)
      throw cursor.fail(`tensor ${printable(name)} has the impossible shape [${shape}]; it is damaged`, {
        tensor: name,
      })
    infos.push({ name, shape, elements, typeId: cursor.u32(), offset: cursor.u64() })
  }
  return infos
}

/** Checks that the tensors follow each other in the order listed, and gives each its place in the file. */
function place(
  source: ByteSource,
  infos: readonly RawInfo[],
  dataStart: number,
  alignment: number,
): Map<string, TensorEntry> {
  const refuse = (name: string, what: string) =>
    damaged(source.name, `tensor ${printable(name)} ${what}`, 'PARE_E_GGUF_TENSOR', { tensor: name })
  const tensors = new Map<string, TensorEntry>()
  const dataBytes = Math.max(0, source.size - dataStart)
  let expected = 0
  for (const [i, { name, shape, elements, typeId, offset: stored }] of infos.entries()) {
    const type = typeOfId(typeId)
    if (stored !== BigInt(expected))
      throw refuse(
        name,
        `begins at byte ${stored} of the data, ${expected} follows from the tensors before it; it is damaged`,
      )
    const offset = expected
    if (type && (shape.at(-1) ?? 1) % type.blockLength !== 0)
      throw refuse(
        name,
        `has rows of ${shape.at(-1) ?? 1}, ${type.name} needs a multiple of ${type.blockLength}; it is damaged`,
      )
    const next = infos[i + 1]?.offset ?? BigInt(dataBytes)
    const bytes = type ? (elements / type.blockLength) * type.blockBytes : Number(next) - offset
    if (!(bytes >= 0 && bytes <= dataBytes - offset))
      throw refuse(
        name,
        `needs ${bytes} bytes at ${offset} of the data, which has ${dataBytes} bytes; the file is cut`,
      )
    tensors.set(name, {
      name,
      type: nameOfId(typeId),
      shape,
      bytes,
      offset: dataStart + offset,
      file: source.name,
    })
    // Behind a type of unknown size the next tensor begins where it says.
    expected = type ? alignUp(offset + bytes, alignment) : Number(next)
    if (!type && expected % alignment !== 0 && i + 1 < infos.length)
      throw refuse(name, `is followed by a tensor that is not aligned to ${alignment}; it is damaged`)
  }
  return tensors
}

function checkKnown(entry: TensorEntry): void {
  if (typeOfName(entry.type)) return
  throw damaged(
    entry.file,
    `tensor ${printable(entry.name)} has the unsupported type ${entry.type}; requantise the model with a current llama.cpp`,
    'PARE_E_GGUF_TYPE',
    { tensor: entry.name, type: entry.type },
  )
}
