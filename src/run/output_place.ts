/** Whether a result can go to a place. */
import { accessSync, constants, existsSync, lstatSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { writeFailure } from '../formats/output.ts'
import { workName } from '../models/source/incomplete_folder.ts'
import { type Facts, OptionError, printable, SourceError } from '../tensor/errors.ts'
import { readJournal } from './journal.ts'
import { journalName } from './journal_entries.ts'

/** Bytes of a name: file systems take 255, and a folder that is being written has a longer one than its result. */
const LONGEST_NAME = 200

/**
 * Refuses a place that holds something else.
 *
 * @param resumes the job goes on with a run that is there, finished or not
 */
export function checkOutput(output: string, overwrite: boolean, resumes = true): void {
  const refuse = (what: string, facts: Facts = {}) =>
    new OptionError(`--output: ${printable(output)} ${what}`, {
      code: 'PARE_E_OUTPUT',
      facts: { output, ...facts },
    })
  const bytes = Buffer.byteLength(basename(output))
  if (bytes > LONGEST_NAME)
    throw refuse(`has a name of ${bytes} bytes; give one of at most ${LONGEST_NAME}`, { bytes })
  const status = read(output, statSync)
  if (!status) {
    if (read(output, lstatSync)?.isSymbolicLink())
      throw refuse('is a link to a place where nothing is; make that folder, or name another')
    return
  }
  if (!status.isDirectory()) throw refuse('is a file; name a folder that is empty or does not exist')
  const all = read(output, (path) => readdirSync(path)) ?? []
  const names = resumes ? all.filter((name) => name !== workName) : all
  if (names.length === 0 || overwrite) return
  // A run that was stopped while its files moved here, or one that is finished.
  const unfinished = resumes ? readJournal(join(output, workName, journalName)) : undefined
  if (resumes && (unfinished ? unfinished.publish : readJournal(join(output, journalName))?.done)) return
  throw refuse(
    `holds ${names.length === 1 ? '1 file' : `${names.length} files`}; name another folder or give --overwrite`,
    { files: names.length },
  )
}

/**
 * Refuses a place where no folder can be made, as far as that shows without making one.
 *
 * @throws SourceError
 */
export function checkPlace(output: string): void {
  let parent = existsSync(output) ? output : dirname(output)
  while (!existsSync(parent) && dirname(parent) !== parent) parent = dirname(parent)
  try {
    if (!statSync(parent).isDirectory()) throw Object.assign(new Error('no folder'), { code: 'ENOTDIR' })
    accessSync(parent, constants.W_OK | constants.X_OK)
  } catch (cause) {
    throw writeFailure(cause, output, 0)
  }
}

/**
 * Refuses a result inside of the folder that it is made from: it would be a part of its own source.
 *
 * @param source a folder or a file; beside a file there is room
 */
export function checkOutside(output: string, source: string): void {
  if (!existsSync(source) || !statSync(source).isDirectory()) return
  let parent = output
  while (!existsSync(parent) && dirname(parent) !== parent) parent = dirname(parent)
  const place = join(realPath(parent), relative(parent, output))
  if (!`${place}${sep}`.startsWith(`${realPath(source)}${sep}`)) return
  throw new OptionError(
    `--output: ${printable(output)} lies inside of the source, ${printable(source)}; name a folder outside of it`,
    { code: 'PARE_E_OUTPUT', facts: { output, source } },
  )
}

/** Where a place is that may be a link to a folder. */
export const followed = (output: string): string => realPath(output)

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
