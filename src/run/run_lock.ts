/** The lock of a run, which the system lets go of when its process ends. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { disk } from '../formats/disk.ts'
import { writeFailure } from '../formats/output.ts'
import { printable, StateError } from '../tensor/errors.ts'
import { callNative } from '../tensor/native.ts'
import { workName } from './journal.ts'

/** @throws StateError where another process holds the lock */
export function lockWork(output: string): number {
  const work = join(output, workName)
  const path = join(work, 'lock')
  // Whoever finishes removes the folder with the lock in it, perhaps just before this process takes that lock.
  for (let attempt = 0; attempt < 10; attempt++) {
    try {
      disk().makeFolder(work)
    } catch (cause) {
      throw writeFailure(cause, output, 0)
    }
    const lock = callNative((native) => native.tryLockFile(path))
    if (typeof lock !== 'number') break
    if (existsSync(path)) return lock
    callNative((native) => native.unlockFile(lock))
  }
  throw new StateError(
    `--output: another process works on ${printable(output)}; wait for it, or name another output`,
    { code: 'PARE_E_RUN_LOCKED', facts: { output } },
  )
}

export const unlockWork = (lock: number): void => callNative((native) => native.unlockFile(lock))
