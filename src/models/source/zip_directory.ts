/** The central directory of a zip archive: found from its end, read whole, and checked. */
import type { FileHandle } from 'node:fs/promises'
import { printable } from '../../tensor/errors.ts'
import {
  type ArchiveLimits,
  type ArchiveMember,
  damagedArchive,
  tooLarge,
  tooManyEntries,
} from './archive.ts'
import { checkMemberName, unsafeArchive } from './member_name.ts'

export interface ZipMember extends ArchiveMember {
  method: number
  crc: number
  packed: number
  /** Where the local header stands. */
  offset: number
}
interface Directory {
  entries: number
  offset: number
  bytes: number
}

const endSignature = 0x06054b50
const end64Signature = 0x06064b50
const end64LocatorSignature = 0x07064b50
const entrySignature = 0x02014b50
/** The end record with the longest comment. */
const endSearchBytes = 22 + 0xffff
/** Bytes of central directory that are read for one allowed entry: its record and a name and extras of 974 bytes. */
const directoryBytesPerEntry = 1024

/**
 * The files of an archive of `size` bytes, in the order of the directory.
 *
 * @param name of the archive, for messages
 * @throws FormatError if it is damaged, refused or over a limit.
 */
export async function readDirectory(
  file: FileHandle,
  size: number,
  name: string,
  limits: ArchiveLimits,
): Promise<ZipMember[]> {
  const directory = await findDirectory(file, size, name)
  if (directory.entries > limits.entries) throw tooManyEntries(name, limits.entries)
  if (directory.bytes > limits.entries * directoryBytesPerEntry) {
    throw tooLarge(name, directory.bytes, limits.entries * directoryBytesPerEntry)
  }
  const bytes = await readAt(file, directory.offset, directory.bytes, name)
  return parseDirectory(bytes, directory, name, limits)
}

async function findDirectory(file: FileHandle, size: number, name: string): Promise<Directory> {
  const tailBytes = Math.min(size, endSearchBytes)
  const tailStart = size - tailBytes
  const tail = await readAt(file, tailStart, tailBytes, name)
  for (let at = tail.length - 22; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== endSignature || tail.readUInt16LE(at + 20) !== tail.length - at - 22)
      continue
    if (tail.readUInt16LE(at + 4) !== 0 || tail.readUInt16LE(at + 6) !== 0) {
      const zip64 = tail.readUInt16LE(at + 4) === 0xffff || tail.readUInt16LE(at + 6) === 0xffff
      if (!zip64) throw unsafeArchive(name, 'it is one part of several')
    }
    const directory = {
      entries: tail.readUInt16LE(at + 10),
      bytes: tail.readUInt32LE(at + 12),
      offset: tail.readUInt32LE(at + 16),
    }
    const needs64 =
      directory.entries === 0xffff || directory.bytes === 0xffffffff || directory.offset === 0xffffffff
    const end = tailStart + at
    const found = needs64 ? await findDirectory64(file, end, name) : { ...directory, end }
    if (found.offset + found.bytes !== found.end) {
      throw damagedArchive(name, 'its central directory is not where it says')
    }
    return found
  }
  throw damagedArchive(name, 'no zip archive ends here')
}

async function findDirectory64(
  file: FileHandle,
  end: number,
  name: string,
): Promise<Directory & { end: number }> {
  if (end < 76) throw damagedArchive(name, 'its zip64 records are missing')
  const locator = await readAt(file, end - 20, 20, name)
  const at = readLength(locator, 8, name)
  if (locator.readUInt32LE(0) !== end64LocatorSignature || at > end - 76) {
    throw damagedArchive(name, 'its zip64 locator is missing')
  }
  const record = await readAt(file, at, 56, name)
  if (record.readUInt32LE(0) !== end64Signature || at + 12 + readLength(record, 4, name) !== end - 20) {
    throw damagedArchive(name, 'its zip64 end record is missing')
  }
  return {
    entries: readLength(record, 32, name),
    bytes: readLength(record, 40, name),
    offset: readLength(record, 48, name),
    end: at,
  }
}

function parseDirectory(
  bytes: Buffer,
  directory: Directory,
  name: string,
  limits: ArchiveLimits,
): ZipMember[] {
  const members: ZipMember[] = []
  const seen = new Set<string>()
  let at = 0
  for (let index = 0; index < directory.entries; index++) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== entrySignature) {
      throw damagedArchive(name, `its central directory breaks off at entry ${index}`)
    }
    const nameEnd = at + 46 + bytes.readUInt16LE(at + 28)
    const extraEnd = nameEnd + bytes.readUInt16LE(at + 30)
    const next = extraEnd + bytes.readUInt16LE(at + 32)
    if (next > bytes.length) throw damagedArchive(name, `its central directory breaks off at entry ${index}`)
    const entry = bytes.subarray(at, next)
    const memberName = decodeName(bytes.subarray(at + 46, nameEnd), name)
    const folder = memberName.endsWith('/')
    const plainName = folder ? memberName.slice(0, -1) : memberName
    checkMemberName(plainName, name)
    if (seen.has(plainName)) throw unsafeArchive(name, `"${printable(plainName)}" occurs twice`)
    seen.add(plainName)
    checkFileType(entry, folder, plainName, name)
    if (!folder)
      members.push({ name: plainName, ...readSizes(entry, bytes.subarray(nameEnd, extraEnd), name) })
    at = next
  }
  if (at !== bytes.length) throw damagedArchive(name, 'its central directory holds more than its entries')
  for (const member of members) {
    if (member.bytes > limits.memberBytes) throw tooLarge(name, member.bytes, limits.memberBytes)
  }
  checkApart(members, directory.offset, name)
  return members
}

/** Only regular files and folders; the upper half of the external attributes is a Unix mode, or zero. */
function checkFileType(entry: Buffer, folder: boolean, member: string, name: string): void {
  const type = (entry.readUInt32LE(38) >>> 28) & 0xf
  const wanted = folder ? 0x4 : 0x8
  if (type === 0xa) throw unsafeArchive(name, `"${printable(member)}" is a link`)
  if (type !== 0 && type !== wanted) throw unsafeArchive(name, `"${printable(member)}" is no regular file`)
  if ((entry.readUInt16LE(8) & 0x41) !== 0) throw unsafeArchive(name, `"${printable(member)}" is encrypted`)
}

function readSizes(entry: Buffer, extra: Buffer, name: string): Omit<ZipMember, 'name'> {
  const sizes = {
    bytes: entry.readUInt32LE(24),
    packed: entry.readUInt32LE(20),
    offset: entry.readUInt32LE(42),
  }
  let at = 0
  while (at + 4 <= extra.length) {
    const [id, length] = [extra.readUInt16LE(at), extra.readUInt16LE(at + 2)]
    const field = extra.subarray(at + 4, at + 4 + length)
    at += 4 + length
    if (id !== 0x0001) continue
    // The zip64 field holds, in this order, only what did not fit into the record.
    let from = 0
    for (const key of ['bytes', 'packed', 'offset'] as const) {
      if (sizes[key] !== 0xffffffff) continue
      if (from + 8 > field.length) throw damagedArchive(name, 'a zip64 field is too short')
      sizes[key] = readLength(field, from, name)
      from += 8
    }
    break
  }
  return { ...sizes, method: entry.readUInt16LE(10), crc: entry.readUInt32LE(16) }
}

/** Members that share packed bytes are how small files become petabytes. */
function checkApart(members: readonly ZipMember[], directoryOffset: number, name: string): void {
  const ordered = [...members].sort((a, b) => a.offset - b.offset)
  for (const [index, { offset, packed, name: member }] of ordered.entries()) {
    const limit = ordered[index + 1]?.offset ?? directoryOffset
    if (offset + 30 + Buffer.byteLength(member) + packed > limit) {
      throw unsafeArchive(name, `"${printable(member)}" overlaps what follows it`)
    }
  }
}

/** @throws FormatError where the file ends before. */
export async function readAt(
  file: FileHandle,
  position: number,
  bytes: number,
  name: string,
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(bytes)
  let done = 0
  while (done < bytes) {
    const { bytesRead } = await file.read(buffer, done, bytes - done, position + done)
    if (bytesRead === 0) throw damagedArchive(name, 'it ends early')
    done += bytesRead
  }
  return buffer
}

function readLength(buffer: Buffer, at: number, name: string): number {
  const value = buffer.readBigUInt64LE(at)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damagedArchive(name, `it declares a length of ${value}`)
  return Number(value)
}

/** Names are UTF-8 whether flagged or not; older code pages would only guess. */
export function decodeName(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    throw damagedArchive(name, 'a name is not UTF-8', error)
  }
}
