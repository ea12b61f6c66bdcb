/**
 * Reading gzipped tar archives, npm's among them: POSIX ustar and pax, with GNU long names.
 *
 * A tar has no directory, so it is unpacked twice: once to list it, once to read what was chosen. Refused:
 * links, devices, sparse files, pax headers that rename every member at once, unsafe names, names that occur twice.
 */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { createGunzip } from 'node:zlib'
import { FormatError, printable } from '../../tensor/errors.ts'
import {
  type Archive,
  type ArchiveLimits,
  type ArchiveMember,
  checkRatio,
  counted,
  damagedArchive,
  defaultLimits,
  tooLarge,
  tooManyEntries,
} from './archive.ts'
import { checkMemberName, unsafeArchive } from './member_name.ts'

const blockBytes = 512
const chunkBytes = 1 << 18
/** A pax header holds a name and a few numbers. */
const metadataBytes = 1 << 20

interface Entry {
  member: ArchiveMember
  content: AsyncGenerator<Uint8Array>
}

/**
 * Lists a gzipped tar; members are named without the one folder they all stand in (npm's `package/`).
 *
 * @throws FormatError if it is damaged, refused (see above) or over a limit.
 */
export async function openTarGz(path: string, limits: ArchiveLimits = defaultLimits): Promise<Archive> {
  const members: ArchiveMember[] = []
  const seen = new Set<string>()
  const name = basename(path)
  for await (const { member } of entries(path, name, limits)) {
    if (seen.has(member.name)) throw unsafeArchive(name, `"${printable(member.name)}" occurs twice`)
    seen.add(member.name)
    members.push(member)
  }
  return {
    name,
    members,
    async *read(names) {
      for await (const entry of entries(path, name, limits)) if (names.has(entry.member.name)) yield entry
    },
  }
}

/** The regular files of the archive; a content that is not read, or not to its end, is skipped. */
async function* entries(path: string, name: string, limits: ArchiveLimits): AsyncGenerator<Entry> {
  const packed = (await stat(path)).size
  const stream = new ByteStream(gunzip(path, packed, name, limits), name)
  let count = 0
  let longName: string | undefined
  let pax: Pax = {}
  try {
    for (;;) {
      const header = await stream.take(blockBytes)
      if (header.every((byte) => byte === 0)) {
        await stream.rest()
        return
      }
      if (++count > limits.entries) throw tooManyEntries(name, limits.entries)
      checkHeader(header, name)
      const type = String.fromCharCode(header[156]!)
      const bytes = pax.size ?? readNumber(header.subarray(124, 136), name)
      const padding = (blockBytes - (bytes % blockBytes)) % blockBytes
      if (type === 'x' || type === 'g' || type === 'L') {
        if (bytes > metadataBytes) throw unsafeArchive(name, `a header of ${bytes} bytes is no header`)
        const content = await stream.take(bytes)
        await stream.take(padding)
        if (type === 'x') pax = parsePax(content, name)
        else if (type === 'L') longName = text(content, name)
        else if (Object.keys(parsePax(content, name)).length > 0) {
          throw unsafeArchive(name, 'a global header renames or resizes every member')
        }
        continue
      }
      const fullName = pax.path ?? longName ?? headerName(header, name)
      ;[longName, pax] = [undefined, {}]
      const memberName = fullName.replace(/^(?:\.\/)+/, '').replace(/\/$/, '')
      if (type === '5') {
        if (memberName !== '' && memberName !== '.') checkMemberName(memberName, name)
        if (bytes !== 0) throw damagedArchive(name, 'a folder has content')
        continue
      }
      checkMemberName(memberName, name)
      checkFileType(type, memberName, name)
      if (bytes > limits.memberBytes) throw tooLarge(name, bytes, limits.memberBytes)
      const member = { name: withoutTop(memberName, name), bytes }
      const content = stream.slice(bytes)
      yield { member, content: counted(content, { archive: name, member, packed, limits }) }
      await stream.skipRest()
      await stream.take(padding)
    }
  } finally {
    await stream.close()
  }
}

async function* gunzip(path: string, packed: number, name: string, limits: ArchiveLimits) {
  const input = createReadStream(path, { highWaterMark: chunkBytes })
  const output = createGunzip({ chunkSize: chunkBytes })
  input.once('error', (error) => output.destroy(error))
  let bytes = 0
  try {
    for await (const chunk of input.pipe(output)) {
      bytes += (chunk as Buffer).length
      if (bytes > limits.totalBytes) throw tooLarge(name, bytes, limits.totalBytes)
      checkRatio(name, bytes, packed, limits)
      yield chunk as Buffer
    }
  } catch (error) {
    if (error instanceof FormatError || !(error instanceof Error) || !('code' in error)) throw error
    if (!String(error.code).startsWith('Z_')) throw error
    throw damagedArchive(name, 'it cannot be unpacked', error)
  } finally {
    input.destroy()
    output.destroy()
  }
}

/** Bytes on demand from a stream of chunks. */
class ByteStream {
  readonly #chunks: AsyncGenerator<Buffer>
  readonly #name: string
  #buffer: Buffer = Buffer.alloc(0)
  /** Bytes of the current slice that nobody has read. */
  #left = 0

  constructor(chunks: AsyncGenerator<Buffer>, name: string) {
    this.#chunks = chunks
    this.#name = name
  }

  /** Exactly `bytes` bytes. */
  async take(bytes: number): Promise<Buffer> {
    const parts: Buffer[] = []
    let missing = bytes
    while (missing > 0) {
      const part = await this.#next(missing)
      parts.push(part)
      missing -= part.length
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
  }

  /** The next `bytes` bytes in chunks; `skipRest` passes over what was not read of them. */
  slice(bytes: number): AsyncGenerator<Uint8Array> {
    this.#left = bytes
    return this.#readSlice()
  }

  async skipRest(): Promise<void> {
    for await (const _ of this.#readSlice());
  }

  async *#readSlice(): AsyncGenerator<Uint8Array> {
    while (this.#left > 0) {
      const part = await this.#next(this.#left)
      this.#left -= part.length
      yield part
    }
  }

  /** Reads to the end, so that the checksum of the gzip stream is seen. */
  async rest(): Promise<void> {
    for await (const _ of this.#chunks);
  }

  async close(): Promise<void> {
    await this.#chunks.return(undefined)
  }

  async #next(limit: number): Promise<Buffer> {
    while (this.#buffer.length === 0) {
      const { value, done } = await this.#chunks.next()
      if (done) throw damagedArchive(this.#name, 'it ends early')
      this.#buffer = value
    }
    const part = this.#buffer.subarray(0, limit)
    this.#buffer = this.#buffer.subarray(part.length)
    return part
  }
}

function checkHeader(header: Buffer, name: string): void {
  const stated = readNumber(header.subarray(148, 156), name)
  let sum = 0
  for (const [at, byte] of header.entries()) sum += at >= 148 && at < 156 ? 0x20 : byte
  if (sum !== stated) throw damagedArchive(name, 'the checksum of a header is wrong')
}

function checkFileType(type: string, member: string, name: string): void {
  if (type === '0' || type === '\0' || type === '7') return
  if (type === '1' || type === '2' || type === 'K')
    throw unsafeArchive(name, `"${printable(member)}" is a link`)
  if (type === '3' || type === '4' || type === '6')
    throw unsafeArchive(name, `"${printable(member)}" is a device`)
  throw unsafeArchive(name, `"${printable(member)}" is no regular file (type ${printable(type)})`)
}

/** Octal digits, or GNU's base 256 when the first bit is set. */
function readNumber(field: Buffer, name: string): number {
  if ((field[0]! & 0x80) !== 0) {
    const value = field.subarray(1).reduce((sum, byte) => sum * 256n + BigInt(byte), BigInt(field[0]! & 0x7f))
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw damagedArchive(name, `it declares a length of ${value}`)
    return Number(value)
  }
  const digits = /^ *([0-7]*)[\0 ]*$/.exec(field.toString('latin1'))?.[1]
  if (digits === undefined) throw damagedArchive(name, 'a number in a header is not octal')
  return digits === '' ? 0 : Number.parseInt(digits, 8)
}

function headerName(header: Buffer, name: string): string {
  const own = text(header.subarray(0, 100), name)
  const isUstar = header.toString('latin1', 257, 263) === 'ustar\0'
  const prefix = isUstar ? text(header.subarray(345, 500), name) : ''
  return prefix === '' ? own : `${prefix}/${own}`
}

interface Pax {
  path?: string
  size?: number
}

/** Records `LENGTH KEY=VALUE\n`; only the path and the size change what is read. */
function parsePax(content: Buffer, name: string): Pax {
  const pax: Pax = {}
  let at = 0
  while (at < content.length) {
    const space = content.indexOf(0x20, at)
    const length = space < 0 ? Number.NaN : Number(content.toString('latin1', at, space))
    const end = at + length
    if (!Number.isInteger(length) || end <= space || end > content.length || content[end - 1] !== 0x0a) {
      throw damagedArchive(name, 'a pax header is malformed')
    }
    const record = content.subarray(space + 1, end - 1)
    const equals = record.indexOf(0x3d)
    if (equals < 1) throw damagedArchive(name, 'a pax header is malformed')
    const key = record.toString('latin1', 0, equals)
    const value = record.subarray(equals + 1)
    if (key === 'path') pax.path = utf8(value, name)
    if (key === 'linkpath') throw unsafeArchive(name, 'a header announces a link')
    if (key.startsWith('GNU.sparse.')) throw unsafeArchive(name, 'a header announces a sparse file')
    if (key === 'size') {
      const size = Number(value.toString('latin1'))
      if (!Number.isSafeInteger(size) || size < 0) throw damagedArchive(name, 'a pax size is no length')
      pax.size = size
    }
    at = end
  }
  return pax
}

/** npm unpacks below the first folder, whatever its name. */
function withoutTop(member: string, name: string): string {
  const slash = member.indexOf('/')
  if (slash < 0) throw unsafeArchive(name, `"${printable(member)}" stands outside the package's folder`)
  return member.slice(slash + 1)
}

/** A field that ends at its first NUL; a NUL inside a name would hide the rest of it. */
function text(field: Buffer, name: string): string {
  const end = field.indexOf(0)
  return utf8(end < 0 ? field : field.subarray(0, end), name)
}

function utf8(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    throw damagedArchive(name, 'a name is not UTF-8', error)
  }
}
