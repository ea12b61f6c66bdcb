/** What lies in a folder of the user. */
import { type Dirent, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { cannotRead } from './cannot_read.ts'

/**
 * The entries of a folder but those whose names begin with a point, in the order of the system.
 *
 * @throws SourceError where it cannot be read
 */
export function visibleEntries(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).filter(({ name }) => !name.startsWith('.'))
  } catch (cause) {
    throw cannotRead(folder, cause)
  }
}

/**
 * Whether an entry is a folder, or a link to one.
 *
 * @throws SourceError for a link that leads nowhere
 */
export function leadsToFolder(folder: string, entry: Dirent): boolean {
  if (!entry.isSymbolicLink()) return entry.isDirectory()
  const path = join(folder, entry.name)
  try {
    return statSync(path).isDirectory()
  } catch (cause) {
    throw cannotRead(path, cause)
  }
}
