/** What the trials of `pare compress` share: runs of it as a process, and the bytes that they leave. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('../bin/pare.js', import.meta.url))
const tiny = fileURLToPath(new URL('../interop/fixtures/llama-f16.gguf', import.meta.url))

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
 * Runs `pare compress` to its end, or until SIGKILL after `killAfter` milliseconds.
 *
 * @param preload a module that is loaded first, with `environment` for it
 */
export function compress(args, output, { killAfter, preload, environment = {} } = {}) {
  const started = performance.now()
  const child = spawn(
    process.execPath,
    [...(preload ? ['--import', preload] : []), program, 'compress', ...args, '--output', output, '--json'],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NO_COLOR: '1', ...environment } },
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

/** Files that hold the model; the report and the journal also hold times. */
export function hashOf(output) {
  const hash = createHash('sha256')
  for (const name of readdirSync(output).sort()) {
    if (name === 'report.json' || name === 'journal.jsonl' || name === 'report.html') continue
    hash.update(`${name}\0`).update(readFileSync(join(output, name)))
  }
  return hash.digest('hex')
}

/** A random model of two blocks, with a text of its own in `folder`: its tokenizer knows lower-case letters only. */
export function tinyArguments(folder, random) {
  const text = join(folder, 'text.txt')
  const letters = 'abcdefghijklmnopqrstuvwxy \n'
  writeFileSync(text, Array.from({ length: 4000 }, () => letters[Math.floor(random() * 27)]).join(''))
  const short = '--bits 3 --group-size 16 --samples 8 --length 64 --context 64 --windows 2'.split(' ')
  return [tiny, '--calib', text, '--text', text, ...short]
}
