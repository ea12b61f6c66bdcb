/**
 * The folder that a conversion writes, beside its output: `.NAME.MARK.part`, with the mark of its process. It gets the
 * name of the output when it is whole; what it replaces waits as `.NAME.MARK.part.replaced` until then.
 */
import { existsSync, readdirSync, rmdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { disk } from '../../formats/disk.ts'
import { writeFailure } from '../../formats/output.ts'
import { markPattern, ownerOf, processMark } from '../../formats/process_mark.ts'

/** A name for a conversion of this process; nothing is made. */
export const unfinishedFolder = (output: string): string =>
  join(dirname(output), `.${basename(output)}.${processMark()}.part`)

/**
 * Removes what processes of this machine that have ended left beside an output, and gives back the result that one of
 * them had moved away without putting its own there.
 *
 * @throws SourceError for what can be neither removed nor given back
 */
export function removeUnfinished(output: string): void {
  const parent = dirname(output)
  const start = `.${basename(output)}.`
  const mark = new RegExp(`^(${markPattern})\\.part$`)
  const left = namesIn(parent).flatMap((name) => {
    const found = name.startsWith(start) && mark.exec(name.slice(start.length).replace(/\.replaced$/, ''))
    return found && ownerOf(found[1]!) === 'ended' ? [name.replace(/\.replaced$/, '')] : []
  })
  try {
    for (const name of new Set(left)) {
      const folder = join(parent, name)
      const replaced = `${folder}.replaced`
      // The new one was not there yet.
      if (existsSync(replaced) && existsSync(folder) && !existsSync(output)) disk().rename(replaced, output)
      // Where another one took the place in between, the older stays.
      if (!existsSync(folder)) disk().remove(replaced)
      disk().remove(folder)
    }
  } catch (cause) {
    throw writeFailure(cause, output, 0)
  }
}

/** None where the folder is not there, or may not be read. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** Puts the whole result at its place. What stood there goes only when the new one has its name. */
export function publishFolder(folder: string, output: string): void {
  const replaced = `${folder}.replaced`
  try {
    disk().syncFolder(folder)
    const isThere = existsSync(output)
    if (isThere && readdirSync(output).length === 0) rmdirSync(output)
    else if (isThere) disk().rename(output, replaced)
    try {
      disk().rename(folder, output)
    } catch (error) {
      if (existsSync(replaced)) disk().rename(replaced, output)
      throw error
    }
    disk().syncFolder(dirname(output))
    disk().remove(replaced)
  } catch (cause) {
    throw writeFailure(cause, output, 0)
  }
}
