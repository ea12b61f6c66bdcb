/**
 * Names of files inside archives and repositories, which strangers chose. A name is taken only if it means the
 * same file below one folder on Linux, macOS and Windows; everything else is refused, never repaired.
 */
import { FormatError, printable } from '../../tensor/errors.ts'

/** Names that Windows gives to devices, whatever extension follows. */
const deviceName = /^(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)/i

/** Why `name` must not be used as a relative path with `/` between its parts; undefined if it may. */
export function unsafeNameReason(name: string): string | undefined {
  if (name === '') return 'it is empty'
  if (Buffer.byteLength(name) > 1024) return 'it is longer than 1024 bytes'
  if (name.startsWith('/')) return 'it is absolute'
  if (name.includes('\\')) return 'it has a backslash'
  if (/[\u0000-\u001f\u007f]/.test(name)) return 'it has a control character'
  if (/[:<>"|?*]/.test(name)) return 'it has a character that file systems reserve'
  if (/\p{Surrogate}/u.test(name)) return 'it is not valid Unicode'
  for (const part of name.split('/')) {
    if (part === '') return 'one of its parts is empty'
    if (part === '..') return 'it climbs out with ".."'
    if (part === '.') return 'it has a "." part'
    if (Buffer.byteLength(part) > 255) return 'one of its parts is longer than 255 bytes'
    if (/[. ]$/.test(part)) return 'one of its parts ends in a dot or a space'
    if (deviceName.test(part)) return 'it names a device'
  }
  return undefined
}

/** @throws FormatError (`PARE_E_ARCHIVE_UNSAFE`) unless the name is safe. */
export function checkMemberName(name: string, archive: string): void {
  const reason = unsafeNameReason(name)
  if (reason !== undefined)
    throw unsafeArchive(archive, `the name "${printable(name)}" is refused: ${reason}`)
}

/**
 * Checks names that will be written below one folder together.
 *
 * @throws FormatError (`PARE_E_ARCHIVE_UNSAFE`) if two of them are one file where case or Unicode form do not
 *   count, or if one is a file and a folder at once.
 */
export function checkTogether(names: Iterable<string>, archive: string): void {
  const seen = new Map<string, string>()
  for (const name of names) {
    const key = folded(name)
    const other = seen.get(key)
    if (other !== undefined) {
      throw unsafeArchive(
        archive,
        `"${printable(other)}" and "${printable(name)}" are one file on some systems`,
      )
    }
    seen.set(key, name)
  }
  for (const [key, name] of seen) {
    for (let at = key.indexOf('/'); at >= 0; at = key.indexOf('/', at + 1)) {
      const parent = seen.get(key.slice(0, at))
      if (parent === undefined) continue
      throw unsafeArchive(
        archive,
        `"${printable(parent)}" is a file and the folder of "${printable(name)}" at once`,
      )
    }
  }
}

/** The archive tries something that an honest one has no need of. */
export function unsafeArchive(archive: string, found: string): FormatError {
  return new FormatError(`${printable(archive)}: ${found}; do not use this archive`, {
    code: 'PARE_E_ARCHIVE_UNSAFE',
    facts: { archive: printable(archive) },
  })
}

const folded = (name: string): string => name.normalize('NFC').toLowerCase().normalize('NFC')
