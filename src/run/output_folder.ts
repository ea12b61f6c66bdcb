/** The folder of a result: made beside its final place, and put there whole. */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { writeFailure } from '../formats/output.ts'
import { markPattern, ownerOf, processMark } from '../formats/process_mark.ts'
import { type Facts, OptionError, printable, SourceError } from '../tensor/errors.ts'

export interface OutputFolder {
  /** Where the files are written. */
  readonly work: string
  /** Puts the folder in its place. */
  commit(): void
  /** Removes what was written. */
  abort(): void
}

/**
 * Starts the folder of a result, after what a process that has ended left of an earlier one is gone.
 *
 * @throws OptionError where the output is a file or a folder that is not empty and `overwrite` is off.
 */
export function openOutputFolder(path: string, overwrite: boolean): OutputFolder {
  const output = resolve(path)
  removeLeftovers(output)
  checkOutput(output, overwrite)
  const parent = dirname(output)
  let work: string
  try {
    mkdirSync(parent, { recursive: true })
    work = join(parent, `${hiddenName(output)}${processMark()}`)
    mkdirSync(work)
  } catch (cause) {
    throw writeFailure(cause, output, 0)
  }
  return {
    work,
    commit() {
      checkOutput(output, overwrite)
      const old = `${work}${replacedSuffix}`
      const replaced = existsSync(output)
      try {
        if (replaced) renameSync(output, old)
        renameSync(work, output)
      } catch (cause) {
        if (replaced && existsSync(old) && !existsSync(output)) renameSync(old, output)
        throw writeFailure(cause, output, 0)
      }
      if (replaced) rmSync(old, { recursive: true, force: true })
    },
    abort() {
      rmSync(work, { recursive: true, force: true })
    },
  }
}

const hiddenName = (output: string): string => `.${basename(output)}.pare-`
const replacedSuffix = '.old'

/**
 * Removes what unfinished results left beside the output: those of processes that have ended, and with `own` also
 * of this one, for when it ends at once. A former result that was just being replaced goes back to its place.
 */
export function removeLeftovers(path: string, { own = false } = {}): void {
  const output = resolve(path)
  const parent = dirname(output)
  const start = hiddenName(output)
  const rest = new RegExp(`^(${markPattern})(\\${replacedSuffix})?$`)
  const gone = own ? ['ended', 'this'] : ['ended']
  for (const name of hiddenNames(parent, start)) {
    const [, mark, replaced] = rest.exec(name.slice(start.length)) ?? []
    if (mark === undefined || !gone.includes(ownerOf(mark))) continue
    try {
      if (replaced && !existsSync(output)) renameSync(join(parent, name), output)
      else rmSync(join(parent, name), { recursive: true, force: true, maxRetries: 3 })
    } catch {
      // Another user's, or still being written: it stays for the next run, and harms no result.
    }
  }
}

/** None where the folder does not exist or may be entered but not listed. */
function hiddenNames(parent: string, start: string): string[] {
  try {
    return readdirSync(parent).filter((name) => name.startsWith(start))
  } catch {
    return []
  }
}

/** Refuses a place that holds something else, or that cannot be renamed to. */
export function checkOutput(output: string, overwrite: boolean): void {
  const refuse = (what: string, facts: Facts = {}) =>
    new OptionError(`--output: ${printable(output)} ${what}`, {
      code: 'PARE_E_OUTPUT',
      facts: { output, ...facts },
    })
  const status = read(output, statSync)
  if (!status) return
  if (!status.isDirectory()) throw refuse('is a file; name a folder that is empty or does not exist')
  if (status.dev !== read(dirname(output), statSync)?.dev) {
    throw refuse('is the root of a file system, which cannot be put in place whole; name a folder inside it')
  }
  const files = read(output, (path) => readdirSync(path))?.length ?? 0
  if (files > 0 && !overwrite)
    throw refuse(
      `holds ${files === 1 ? '1 file' : `${files} files`}; name another folder or give --overwrite`,
      { files },
    )
}

/**
 * Refuses a place where no folder can be made, as far as that shows without making one.
 *
 * @throws SourceError
 */
export function checkPlace(output: string): void {
  let parent = dirname(output)
  while (!existsSync(parent) && dirname(parent) !== parent) parent = dirname(parent)
  try {
    if (!statSync(parent).isDirectory()) throw Object.assign(new Error('no folder'), { code: 'ENOTDIR' })
    accessSync(parent, constants.W_OK | constants.X_OK)
  } catch (cause) {
    throw writeFailure(cause, output, 0)
  }
}

/** Refuses to replace a folder with something inside that must stay: the source, the folder of the terminal. */
export function checkReplaceable(output: string, inside: readonly string[]): void {
  const folder = realPath(output)
  const lost = inside.find((path) =>
    `${realPath(path)}${sep}`.startsWith(folder.endsWith(sep) ? folder : `${folder}${sep}`),
  )
  if (lost === undefined) return
  throw new OptionError(
    `--output: ${printable(output)} holds ${printable(lost)}, which would be lost; name another folder`,
    {
      code: 'PARE_E_OUTPUT',
      facts: { output, inside: lost },
    },
  )
}

const realPath = (path: string): string => (existsSync(path) ? realpathSync(path) : resolve(path))

/** What is at a path, or nothing where nothing is. @throws SourceError where that cannot be found out */
function read<T>(path: string, how: (path: string) => T): T | undefined {
  try {
    return how(path)
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
    if (reason === 'ENOENT' || reason === 'ENOTDIR') return undefined
    throw new SourceError(`--output: ${printable(path)} cannot be read (${reason}); check its permissions`, {
      code: 'PARE_E_CANNOT_READ',
      facts: { path, reason },
      cause,
    })
  }
}
