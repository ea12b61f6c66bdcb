/** What lies in a folder of the user. */
import { type Dirent, readdirSync } from 'node:fs'
import { printable, SourceError } from '../tensor/errors.ts'

/**
 * The entries of a folder but those whose names begin with a point, in the order of the system.
 *
 * @throws SourceError where it cannot be read
 */
export function visibleEntries(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).filter(({ name }) => !name.startsWith('.'))
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new SourceError(`${printable(folder)}: cannot be read (${reason}); check the path`, {
      code: 'PARE_E_CANNOT_READ',
      facts: { path: folder, reason },
      cause,
    })
  }
}
