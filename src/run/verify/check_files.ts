/** Whether the files that a report names are there and hold what they held. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { printable } from '../../tensor/errors.ts'
import { hashOfFiles } from '../fingerprint.ts'
import { expandFolders, isFileName } from '../folder_files.ts'
import { type Check, checkOf, type VerificationRecord } from './verification.ts'

/** What is known of a folder beforehand. */
export interface KnownFiles {
  /** All files by name. */
  names: readonly string[]
  /** Those whose content is known. */
  files: VerificationRecord['files']
}

/** Files of a folder, and of the folders that are named, with their sizes and hashes. */
export const recordFiles = (folder: string, names: readonly string[]): VerificationRecord['files'] =>
  expandFolders(folder, names).map((name) => {
    const path = join(folder, name)
    return { name, bytes: statSync(path).size, sha256: hashOfFiles([path]) }
  })

/** Compares a folder with what is known of it. */
export function checkFiles(folder: string, { names, files }: KnownFiles): Check {
  const faults: string[] = []
  const known = new Map(files.map((file) => [file.name, file]))
  let bytes = 0
  for (const name of new Set([...names, ...known.keys()])) {
    const say = (what: string) => faults.push(`${printable(name)}: ${what}`)
    // Names come from a report: they must stay inside of the folder.
    if (!isFileName(name)) {
      say('is no name of a file in the folder')
      continue
    }
    const status = statSync(join(folder, name), { throwIfNoEntry: false })
    const expected = known.get(name)
    if (!status?.isFile()) say('is missing')
    else if (expected && status.size !== expected.bytes)
      say(`has ${status.size} bytes, the report says ${expected.bytes}`)
    else if (expected) {
      bytes += status.size
      if (hashOfFiles([join(folder, name)]) !== expected.sha256) say('is not what the report knows (SHA-256)')
    }
  }
  const hashed =
    files.length > 0 ? `, ${files.length} of them (${bytes} bytes) hold what the report says` : ''
  const count = new Set([...names, ...known.keys()]).size
  return checkOf(
    'files',
    faults,
    faults.length > 0 ? `${faults.length} of ${count} files differ` : `${count} files are there${hashed}`,
    { files: count, bytes, differing: faults.length },
  )
}
