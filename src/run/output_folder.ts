/** The folder of a result: made beside its final place, and put there whole. */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { writeFailure } from '../formats/output.ts'
import { OptionError, printable } from '../tensor/errors.ts'

export interface OutputFolder {
  /** Where the files are written. */
  readonly work: string
  /** Puts the folder in its place. */
  commit(): void
  /** Removes what was written. */
  abort(): void
}

/**
 * @throws OptionError where the output is a file or a folder that is not empty and `overwrite` is off.
 */
export function openOutputFolder(path: string, overwrite: boolean): OutputFolder {
  const output = resolve(path)
  checkOutput(output, overwrite)
  const parent = dirname(output)
  let work: string
  try {
    mkdirSync(parent, { recursive: true })
    work = join(parent, `.${basename(output)}.pare-${randomBytes(6).toString('hex')}`)
    mkdirSync(work)
  } catch (cause) {
    throw writeFailure(cause, output, 0)
  }
  return {
    work,
    commit() {
      checkOutput(output, overwrite)
      const old = `${work}.old`
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

/** Refuses a place that holds something else. */
export function checkOutput(output: string, overwrite: boolean): void {
  if (!existsSync(output)) return
  if (!statSync(output).isDirectory()) {
    throw new OptionError(
      `--output: ${printable(output)} is a file; name a folder that is empty or does not exist`,
      {
        code: 'PARE_E_OUTPUT',
        facts: { output },
      },
    )
  }
  const files = readdirSync(output)
  if (files.length === 0 || overwrite) return
  throw new OptionError(
    `--output: ${printable(output)} holds ${files.length} files; name another folder or give --overwrite`,
    { code: 'PARE_E_OUTPUT', facts: { output, files: files.length } },
  )
}
