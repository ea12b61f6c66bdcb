/** How large the files of a result are. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Bytes of a file, or of all files in a folder; nothing where there is neither. */
export function storedSize(path: string): number | undefined {
  const status = statSync(path, { throwIfNoEntry: false })
  if (!status?.isDirectory()) return status?.isFile() ? status.size : undefined
  return readdirSync(path).reduce((sum, name) => sum + (storedSize(join(path, name)) ?? 0), 0)
}
