/**
 * What a zip and a tar have in common: a list of members whose names were checked, and a way to read some of
 * them in the order of the file. `extractMembers` writes them below a fresh folder, counting and hashing.
 */
import { createHash } from 'node:crypto'
import { mkdir, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { FormatError, printable } from '../../tensor/errors.ts'
import { stopIfAborted } from './abort.ts'
import { checkFreeDisk, diskError } from './disk.ts'
import { checkTogether, unsafeArchive } from './member_name.ts'

export interface ArchiveLimits {
  /** Members of all kinds. @default 50_000 */
  entries: number
  /** Bytes of one extracted member. @default 32 GiB */
  memberBytes: number
  /** Bytes of all extracted members; of a tar, of the whole unpacked stream. @default 64 GiB */
  totalBytes: number
  /** Unpacked bytes a packed byte may become, once a member is past 64 MiB; weights reach about 2. @default 256 */
  ratio: number
}
export const defaultLimits: ArchiveLimits = {
  entries: 50_000,
  memberBytes: 32 * 2 ** 30,
  totalBytes: 64 * 2 ** 30,
  ratio: 256,
}
/** Below this size the ratio says nothing: a small file of zeros is no bomb. */
const ratioFloor = 64 * 2 ** 20

export interface ArchiveMember {
  readonly name: string
  /** Unpacked size that the archive declares. */
  readonly bytes: number
}
export interface Archive {
  /** File name, for messages. */
  readonly name: string
  /** Regular files only, names checked and unique. */
  readonly members: readonly ArchiveMember[]
  /** Reads the chosen members one after the other; each content ends in an error unless it is whole. */
  read(
    names: ReadonlySet<string>,
  ): AsyncIterable<{ member: ArchiveMember; content: AsyncIterable<Uint8Array> }>
}
export interface ExtractedFile {
  /** Relative to the folder, with `/`. */
  path: string
  bytes: number
  sha256: string
}

/**
 * Writes the chosen members below `folder`, which must be fresh: an existing file is an error, not replaced.
 *
 * @throws FormatError for a damaged or hostile archive, ResourceError (`PARE_E_DISK`) if it cannot fit on the
 *   disk, AbortError. What was written so far stays; the caller owns the folder and removes it.
 */
export async function extractMembers(
  archive: Archive,
  names: ReadonlySet<string>,
  folder: string,
  {
    limits = defaultLimits,
    signal,
    progress,
  }: {
    limits?: ArchiveLimits
    signal?: AbortSignal | undefined
    /** Bytes written so far, bytes in all. */
    progress?: (done: number, total: number) => void
  } = {},
): Promise<ExtractedFile[]> {
  checkTogether(names, archive.name)
  const chosen = archive.members.filter((member) => names.has(member.name))
  const total = chosen.reduce((sum, member) => sum + member.bytes, 0)
  if (total > limits.totalBytes) throw tooLarge(archive.name, total, limits.totalBytes)
  await checkFreeDisk(folder, total, archive.name)

  const files: ExtractedFile[] = []
  let done = 0
  for await (const { member, content } of archive.read(names)) {
    const path = join(folder, ...member.name.split('/'))
    await mkdir(dirname(path), { recursive: true })
    const file = await open(path, 'wx', 0o644)
    const hash = createHash('sha256')
    let bytes = 0
    try {
      for await (const chunk of content) {
        stopIfAborted(signal)
        bytes += chunk.length
        done += chunk.length
        hash.update(chunk)
        await file.writeFile(chunk)
        progress?.(done, total)
      }
      await file.sync()
    } catch (error) {
      throw diskError(error, folder, archive.name)
    } finally {
      await file.close()
    }
    files.push({ path: member.name, bytes, sha256: hash.digest('hex') })
  }
  if (files.length !== names.size) throw damagedArchive(archive.name, 'a chosen member is missing')
  return files
}

/**
 * Passes the bytes of one member on, while they stay within what was declared and what is allowed. Declared
 * sizes are lies until counted.
 */
export async function* counted(
  content: AsyncIterable<Uint8Array>,
  {
    archive,
    member,
    packed,
    limits,
  }: { archive: string; member: ArchiveMember; packed: number; limits: ArchiveLimits },
): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const chunk of content) {
    bytes += chunk.length
    if (bytes > member.bytes) {
      throw unsafeArchive(
        archive,
        `"${printable(member.name)}" declares ${member.bytes} bytes and unpacks to more`,
      )
    }
    checkRatio(archive, bytes, packed, limits)
    yield chunk
  }
  if (bytes === member.bytes) return
  throw damagedArchive(archive, `"${printable(member.name)}" declares ${member.bytes} bytes and has ${bytes}`)
}

export function checkRatio(
  archive: string,
  unpacked: number,
  packed: number,
  { ratio }: ArchiveLimits,
): void {
  if (unpacked <= ratioFloor || unpacked <= packed * ratio) return
  throw unsafeArchive(
    archive,
    `${packed} packed bytes unpack to more than ${ratio} times as many, as bombs do`,
  )
}

export function tooLarge(archive: string, bytes: number, limit: number): FormatError {
  return new FormatError(
    `${printable(archive)}: unpacks to ${bytes} bytes, the limit is ${limit}; unpack it by hand and pass the path`,
    { code: 'PARE_E_ARCHIVE_LIMIT', facts: { archive: printable(archive), bytes, limit } },
  )
}

export function tooManyEntries(archive: string, limit: number): FormatError {
  return new FormatError(
    `${printable(archive)}: has more than ${limit} members, which is the limit; unpack it by hand and pass the path`,
    { code: 'PARE_E_ARCHIVE_LIMIT', facts: { archive: printable(archive), limit } },
  )
}

/** The bytes are not those of a whole archive of this kind. */
export function damagedArchive(archive: string, found: string, cause?: unknown): FormatError {
  return new FormatError(`${printable(archive)}: ${found}; the archive is damaged, fetch it again`, {
    code: 'PARE_E_ARCHIVE',
    facts: { archive: printable(archive) },
    cause,
  })
}
