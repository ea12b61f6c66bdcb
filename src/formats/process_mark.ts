/** Marks in the names of unfinished files: which process works on them, so that others know when it is gone. */
import { createHash, randomBytes } from 'node:crypto'
import { hostname } from 'node:os'

/** A process id means something on its own machine only. */
const machine = createHash('sha256').update(hostname()).digest('hex').slice(0, 8)

/** Source of a regular expression that fits a mark. */
export const markPattern = '[0-9a-f]{8}-\\d+-[0-9a-f]{8}'

/** A fresh mark of this process: `MACHINE-PID-RANDOM`. */
export const processMark = (): string => `${machine}-${process.pid}-${randomBytes(4).toString('hex')}`

/** Whose a mark is: of this process, of another one that runs or has ended, or of another machine. */
export function ownerOf(mark: string): 'this' | 'running' | 'ended' | 'elsewhere' {
  const [host, pid] = mark.split('-') as [string, string]
  if (host !== machine) return 'elsewhere'
  if (Number(pid) === process.pid) return 'this'
  return isRunning(Number(pid)) ? 'running' : 'ended'
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
