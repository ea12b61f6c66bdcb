/** `pare serve` as a process: its address, its memory, what it printed, and its end. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('../../bin/pare.js', import.meta.url))

/** Starts `pare serve` with these arguments on a free port, and waits until the model is loaded. */
export async function startServer(args) {
  const child = spawn(process.execPath, [program, 'serve', ...args, '--port', '0', '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1' },
  })
  // Also where this process ends by an error of its own.
  process.on('exit', () => child.kill('SIGKILL'))
  let printed = ''
  child.stderr.on('data', (text) => (printed += text))
  const ended = new Promise((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal, printed })),
  )
  let said = ''
  const ready = new Promise((resolve) =>
    child.stdout.on('data', (text) => {
      said += text
      if (said.endsWith('}\n')) resolve(JSON.parse(said))
    }),
  )
  const { port, model } = await Promise.race([
    ready,
    ended.then(({ code }) => {
      throw new Error(`pare serve ended with ${code}:\n${printed}`)
    }),
  ])
  return {
    port,
    model,
    residentBytes: () => residentBytes(child.pid),
    ended,
    /** SIGTERM, and SIGKILL where that did not help within so many milliseconds. */
    async stop(patience) {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), patience)
      const end = await ended
      clearTimeout(timer)
      return end
    },
  }
}

/** Undefined where the system has no /proc. */
function residentBytes(pid) {
  try {
    const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return 1024 * Number(kilobytes)
  } catch {
    return undefined
  }
}
