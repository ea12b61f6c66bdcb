/**
 * Reading zip archives, wheels among them: APPNOTE 6.3.10, with zip64, stored and deflated members.
 *
 * The central directory is the truth; the local header of a chosen member must agree with it. Refused: links
 * and other special files, encryption, several disks, members that share bytes, data before or after the
 * archive, unsafe names, names that occur twice.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { basename } from 'node:path'
import { Readable } from 'node:stream'
import { crc32, createInflateRaw } from 'node:zlib'
import { printable } from '../../tensor/errors.ts'
import { type Archive, type ArchiveLimits, counted, damagedArchive, defaultLimits } from './archive.ts'
import { unsafeArchive } from './member_name.ts'
import { decodeName, readAt, readDirectory, type ZipMember } from './zip_directory.ts'

const localSignature = 0x04034b50

/**
 * Lists a zip archive; the file is opened anew for every read.
 *
 * @throws FormatError if it is damaged, refused (see above) or over a limit.
 * @example for await (const { member, content } of (await openZip('model.whl')).read(new Set(['a.gguf']))) ...
 */
export async function openZip(path: string, limits: ArchiveLimits = defaultLimits): Promise<Archive> {
  const name = basename(path)
  const members = await withFile(path, async (file) => {
    const { size } = await file.stat()
    return readDirectory(file, size, name, limits)
  })
  return {
    name,
    members,
    async *read(names) {
      const file = await open(path)
      try {
        for (const member of members) {
          if (!names.has(member.name)) continue
          yield { member, content: memberContent(file, member, name, limits) }
        }
      } finally {
        await file.close()
      }
    },
  }
}

async function* memberContent(
  file: FileHandle,
  member: ZipMember,
  name: string,
  limits: ArchiveLimits,
): AsyncGenerator<Uint8Array> {
  const header = await readAt(file, member.offset, 30, name)
  const nameBytes = header.readUInt16LE(26)
  const start = member.offset + 30 + nameBytes + header.readUInt16LE(28)
  const agrees =
    header.readUInt32LE(0) === localSignature &&
    header.readUInt16LE(8) === member.method &&
    decodeName(await readAt(file, member.offset + 30, nameBytes, name), name) === member.name
  if (!agrees) throw unsafeArchive(name, `the two headers of "${printable(member.name)}" disagree`)
  if (member.method !== 0 && member.method !== 8) {
    throw damagedArchive(
      name,
      `"${printable(member.name)}" is packed with method ${member.method}, only 0 and 8 are read`,
    )
  }
  const packed = readRange(file, start, member.packed, name)
  const content = member.method === 8 ? inflate(packed, member, name) : packed
  let crc = 0
  for await (const chunk of counted(content, { archive: name, member, packed: member.packed, limits })) {
    crc = crc32(chunk, crc)
    yield chunk
  }
  if (crc !== member.crc) throw damagedArchive(name, `the checksum of "${printable(member.name)}" is wrong`)
}

async function* inflate(packed: AsyncIterable<Uint8Array>, member: ZipMember, name: string) {
  const input = Readable.from(packed, { objectMode: false })
  const output = createInflateRaw({ chunkSize: chunkBytes })
  input.once('error', (error) => output.destroy(error))
  try {
    for await (const chunk of input.pipe(output)) yield chunk as Uint8Array
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || !String(error.code).startsWith('Z_')) throw error
    throw damagedArchive(name, `"${printable(member.name)}" cannot be unpacked`, error)
  } finally {
    input.destroy()
    output.destroy()
  }
}

const chunkBytes = 1 << 18

async function* readRange(file: FileHandle, start: number, bytes: number, name: string) {
  for (let done = 0; done < bytes; done += chunkBytes) {
    yield await readAt(file, start + done, Math.min(chunkBytes, bytes - done), name)
  }
}

async function withFile<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path)
  try {
    return await use(file)
  } finally {
    await file.close()
  }
}
