/** The lock of a run, which the system lets go of when its process ends. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { disk } from '../formats/disk.ts'
import { writeFailure } from '../formats/output.ts'
import { workName } from '../models/source/incomplete_folder.ts'
import { printable, StateError } from '../tensor/errors.ts'
import { callNative } from '../tensor/native.ts'

/**
 * Takes the lock of a file, which is made where it is not there; nothing where another process holds it.
 *
 * @param prepare makes the folder of the file
 */
export function tryLock(path: string, prepare: () => void = () => {}): number | undefined {
  // Whoever finishes removes the file, perhaps just before this process takes its lock.
  for (let attempt = 0; attempt < 10; attempt++) {
    prepare()
    const lock = callNative((native) => native.tryLockFile(path))
    if (typeof lock !== 'number') return undefined
    if (existsSync(path)) return lock
    unlockWork(lock)
  }
  return undefined
}

/** @throws StateError where another process holds the lock */
export function lockWork(output: string): number {
  const work = join(output, workName)
  const lock = tryLock(join(work, 'lock'), () => {
    try {
      disk().makeFolder(work)
    } catch (cause) {
      throw writeFailure(cause, output, 0)
    }
  })
  if (lock !== undefined) return lock
  throw new StateError(
    `--output: another process works on ${printable(output)}; wait for it, or name another output`,
    { code: 'PARE_E_RUN_LOCKED', facts: { output } },
  )
}

export const unlockWork = (lock: number): void => callNative((native) => native.unlockFile(lock))
