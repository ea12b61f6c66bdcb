/**
 * The members of a zip archive that stores them as they are (APPNOTE 6.3.10, with zip64), as `torch.save` writes it
 * since 1.6. The central directory is the truth; where it stands is found from the end of the file.
 */
import { printable } from '../../tensor/errors.ts'
import { damaged } from '../archive.ts'
import type { ByteSource } from '../file.ts'

export interface StoredMember {
  bytes: number
  crc: number
  /** Position of its first byte in the file. @throws FormatError where it is packed, or not where it should be. */
  offset(): number
}

const end = { signature: 0x06054b50, bytes: 22, longestComment: 0xffff }
const end64 = { signature: 0x06064b50, bytes: 56 }
const locator64 = { signature: 0x07064b50, bytes: 20 }
const entry = { signature: 0x02014b50, bytes: 46 }
const local = { signature: 0x04034b50, bytes: 30 }
/** A model of 100,000 tensors has some 10 MB of directory. */
const longestDirectory = 1 << 26

/** @throws FormatError where the archive is damaged. */
export function storedMembers(source: ByteSource): Map<string, StoredMember> {
  const { offset, bytes, entries } = findDirectory(source)
  const directory = source.read(offset, bytes)
  const view = new DataView(directory.buffer, directory.byteOffset, bytes)
  const members = new Map<string, StoredMember>()
  let at = 0
  for (let index = 0; index < entries; index++) {
    if (at + entry.bytes > bytes || view.getUint32(at, true) !== entry.signature)
      throw wrong(source, `its directory breaks off at entry ${index}`)
    const nameEnd = at + entry.bytes + view.getUint16(at + 28, true)
    const extraEnd = nameEnd + view.getUint16(at + 30, true)
    const next = extraEnd + view.getUint16(at + 32, true)
    if (next > bytes) throw wrong(source, `its directory breaks off at entry ${index}`)
    const name = Buffer.from(directory.subarray(at + entry.bytes, nameEnd)).toString('utf8')
    if (members.has(name)) throw wrong(source, `it holds ${printable(name)} twice`)
    const sizes = sizesOf(source, view, at, nameEnd, extraEnd)
    const packed = view.getUint16(at + 10, true) !== 0 || sizes.packed !== sizes.bytes
    const encrypted = (view.getUint16(at + 8, true) & 1) !== 0
    members.set(name, {
      bytes: sizes.bytes,
      crc: view.getUint32(at + 16, true),
      offset() {
        if (packed || encrypted)
          throw wrong(source, `it ${packed ? 'packs' : 'encrypts'} ${printable(name)}, which torch does not`)
        return dataOffset(source, sizes.offset, sizes.bytes)
      },
    })
    at = next
  }
  return members
}

const wrong = (source: ByteSource, what: string) =>
  damaged(source.name, `as a zip archive ${what}; it is damaged or another file`, 'PARE_E_TORCH_ZIP')

const viewOf = (source: ByteSource, offset: number, length: number): DataView =>
  new DataView(source.read(offset, length).buffer)

function findDirectory(source: ByteSource): { offset: number; bytes: number; entries: number } {
  const tailBytes = Math.min(source.size, end.bytes + end.longestComment)
  const tail = viewOf(source, source.size - tailBytes, tailBytes)
  for (let at = tailBytes - end.bytes; at >= 0; at--) {
    if (tail.getUint32(at, true) !== end.signature) continue
    if (tail.getUint16(at + 20, true) !== tailBytes - at - end.bytes) continue
    const found = {
      entries: tail.getUint16(at + 10, true),
      bytes: tail.getUint32(at + 12, true),
      offset: tail.getUint32(at + 16, true),
    }
    const large = found.entries === 0xffff || found.bytes === 0xffffffff || found.offset === 0xffffffff
    const directory = large ? directory64(source, source.size - tailBytes + at) : found
    if (directory.bytes > longestDirectory) throw wrong(source, `has a directory of ${directory.bytes} bytes`)
    return directory
  }
  throw wrong(source, 'has no end')
}

function directory64(source: ByteSource, before: number) {
  if (before < locator64.bytes) throw wrong(source, 'lacks its zip64 records')
  const locator = viewOf(source, before - locator64.bytes, locator64.bytes)
  if (locator.getUint32(0, true) !== locator64.signature) throw wrong(source, 'lacks its zip64 records')
  const record = viewOf(source, length64(source, locator, 8), end64.bytes)
  if (record.getUint32(0, true) !== end64.signature) throw wrong(source, 'lacks its zip64 records')
  return {
    entries: length64(source, record, 32),
    bytes: length64(source, record, 40),
    offset: length64(source, record, 48),
  }
}

function length64(source: ByteSource, view: DataView, at: number): number {
  const value = view.getBigUint64(at, true)
  if (value > BigInt(source.size)) throw wrong(source, `declares a length of ${value}`)
  return Number(value)
}

function sizesOf(source: ByteSource, view: DataView, at: number, extraStart: number, extraEnd: number) {
  const sizes = {
    bytes: view.getUint32(at + 24, true),
    packed: view.getUint32(at + 20, true),
    offset: view.getUint32(at + 42, true),
  }
  for (let field = extraStart; field + 4 <= extraEnd; ) {
    const [id, length] = [view.getUint16(field, true), view.getUint16(field + 2, true)]
    const fieldEnd = field + 4 + length
    if (fieldEnd > extraEnd) break
    if (id === 1) {
      // The zip64 field holds, in this order, only what did not fit into the record.
      let from = field + 4
      for (const key of ['bytes', 'packed', 'offset'] as const) {
        if (sizes[key] !== 0xffffffff) continue
        if (from + 8 > fieldEnd) throw wrong(source, 'has a zip64 field that is too short')
        sizes[key] = length64(source, view, from)
        from += 8
      }
      break
    }
    field = fieldEnd
  }
  return sizes
}

/** The local header has a name and extras of its own length. */
function dataOffset(source: ByteSource, offset: number, bytes: number): number {
  const header = viewOf(source, offset, local.bytes)
  if (header.getUint32(0, true) !== local.signature) throw wrong(source, `has no member at byte ${offset}`)
  const start = offset + local.bytes + header.getUint16(26, true) + header.getUint16(28, true)
  if (start + bytes > source.size)
    throw wrong(source, `has a member at byte ${offset} that goes past its end`)
  return start
}
