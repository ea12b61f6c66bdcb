/** What the trials of runs share: commands of Pare as processes, and numbers from a seed. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('../bin/pare.js', import.meta.url))

/** Numbers from 0 to 1, the same series for the same seed (mulberry32). */
export function randomSeries(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Runs a command to its end, or until SIGKILL after `killAfter` milliseconds.
 *
 * @param preload a module that is loaded first, with `environment` for it
 */
export function pare(args, { killAfter, preload, environment = {} } = {}) {
  const started = performance.now()
  const child = spawn(
    process.execPath,
    [...(preload ? ['--import', preload] : []), program, ...args, '--json'],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1', ...environment },
    },
  )
  const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfter)
  let stderr = ''
  child.stderr.on('data', (text) => (stderr += text))
  child.stdout.resume()
  return new Promise((resolve) =>
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, stderr, milliseconds: performance.now() - started })
    }),
  )
}

const preload = new URL('./kill_at_step.js', import.meta.url).href

/** Options for a run that dies at a step of the disk; at -1 it only counts them, into the file `counted`. */
export const dyingAt = (step, counted) => ({
  preload,
  environment: { PARE_KILL_AT: String(step), PARE_KILL_COUNT: counted },
})

/** The bytes of the files of a folder, but for those that hold times. */
export function hashOf(output, without) {
  const hash = createHash('sha256')
  for (const name of readdirSync(output).sort())
    if (!without.includes(name)) hash.update(`${name}\0`).update(readFileSync(join(output, name)))
  return hash.digest('hex')
}
