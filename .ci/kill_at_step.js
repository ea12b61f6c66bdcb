/**
 * Ends the process by SIGKILL at the step PARE_KILL_AT of the disk, as a preloaded module; a write at that step is done
 * by half. With -1 nothing is killed, and the number of steps so far stands in the file PARE_KILL_COUNT.
 */
import { writeFileSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'

if (!isMainThread) {
  const { setDisk, systemDisk } = await import('../dist/formats/disk.js')
  const last = Number(process.env.PARE_KILL_AT)
  let count = 0
  const end = () => process.kill(process.pid, 'SIGKILL')
  const watched = Object.fromEntries(
    Object.entries(systemDisk).map(([name, run]) => [
      name,
      (...args) => {
        if (name !== 'close') count++
        if (last < 0) writeFileSync(process.env.PARE_KILL_COUNT, String(count))
        else if (name !== 'close' && count - 1 === last) {
          if (name === 'write') systemDisk.write(args[0], args[1].subarray(0, args[1].length >> 1), args[2])
          end()
          // The signal comes at once, but not within this call.
          for (;;);
        }
        return run(...args)
      },
    ]),
  )
  setDisk(watched)
}
