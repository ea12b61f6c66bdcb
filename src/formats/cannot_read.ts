/** Files and folders of the user that cannot be read. */
import { printable, SourceError } from '../tensor/errors.ts'

/** The error for a file or folder, from that of the system. */
export function cannotRead(path: string, cause: unknown): SourceError {
  const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
  return new SourceError(`${printable(path)}: cannot be read (${reason}); check the path`, {
    code: 'PARE_E_CANNOT_READ',
    facts: { path, reason },
    cause,
  })
}
