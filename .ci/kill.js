/**
 * Kills runs of `pare compress` and starts them again: every one must end with the bytes of a run that was left alone.
 *
 *   node .ci/kill.js [--tiny 10] [--real 3] [--model MODEL.gguf] [--seed 0]
 *
 * Half of the kills come at a random time, half at a random step of the disk: before or after a write, a flush or a
 * rename, or in the middle of a write. `tiny` runs compress a random model of two blocks, `real` ones MODEL with 16
 * samples of 256 tokens; without MODEL they are left out, which is said. Prints `N passed, N failed`.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values: flags } = parseArgs({
  options: {
    tiny: { type: 'string', default: '10' },
    real: { type: 'string', default: '3' },
    model: { type: 'string' },
    seed: { type: 'string', default: '0' },
  },
})
const program = fileURLToPath(new URL('../bin/pare.js', import.meta.url))
const tiny = fileURLToPath(new URL('../interop/fixtures/llama-f16.gguf', import.meta.url))
const preload = new URL('./kill_at_step.js', import.meta.url).href
const work = mkdtempSync(join(tmpdir(), 'pare-kill-'))
const counted = join(work, 'steps')

let state = Number(flags.seed) >>> 0
/** 0 to 1, the same series for the same seed (mulberry32). */
function random() {
  state = (state + 0x6d2b79f5) >>> 0
  let x = Math.imul(state ^ (state >>> 15), state | 1)
  x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
  return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
}

/** Runs `pare compress`; `killAfter` in milliseconds, `killAt` a step of the disk. */
function compress(args, output, { killAfter, killAt } = {}) {
  const started = performance.now()
  const child = spawn(
    process.execPath,
    [
      ...(killAt === undefined ? [] : ['--import', preload]),
      program,
      'compress',
      ...args,
      '--output',
      output,
      '--json',
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        NO_COLOR: '1',
        ...(killAt === undefined ? {} : { PARE_KILL_AT: String(killAt), PARE_KILL_COUNT: counted }),
      },
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

/** Files that hold the model; the report and the journal also hold times. */
function hashOf(output) {
  const hash = createHash('sha256')
  for (const name of readdirSync(output).sort()) {
    if (name === 'report.json' || name === 'journal.jsonl' || name === 'report.html') continue
    hash.update(`${name}\0`).update(readFileSync(join(output, name)))
  }
  return hash.digest('hex')
}

let [passed, failed] = [0, 0]
async function series(title, count, args) {
  if (count === 0) return
  // The model card holds the command, and that the name of the output.
  const output = join(work, title)
  const first = await compress(args, output)
  if (first.code !== 0) throw new Error(`${title}: the run that is left alone failed\n${first.stderr}`)
  const expected = hashOf(output)
  await compress(args, join(work, `${title}-counted`), { killAt: -1 })
  const steps = Number(readFileSync(counted, 'utf8'))
  if (!(steps > 10)) throw new Error(`${title}: the steps of the disk were not counted`)
  rmSync(output, { recursive: true })
  let killed = 0
  for (let i = 0; i < count; i++) {
    const at =
      i % 2 === 0 ? { killAt: Math.floor(random() * steps) } : { killAfter: random() * first.milliseconds }
    const stopped = await compress(args, output, at)
    if (stopped.signal === 'SIGKILL') killed++
    const rest = existsSync(join(output, '.pare'))
    const again = await compress(args, output)
    const same = again.code === 0 && hashOf(output) === expected && !existsSync(join(output, '.pare'))
    if (same) passed++
    else {
      failed++
      process.stdout.write(`FAILED  ${title} ${JSON.stringify(at)}: exit ${again.code}\n${again.stderr}\n`)
    }
    process.stderr.write(
      `${title} ${i + 1}/${count}  ${JSON.stringify(at)}  ${stopped.signal ?? 'ended before'}${rest ? ', went on' : ''}\n`,
    )
    rmSync(output, { recursive: true, force: true })
  }
  process.stdout.write(`${title}: ${killed} of ${count} runs were killed before they ended\n`)
}

try {
  // The tokenizer of the fixtures knows lower-case letters, blanks and line ends.
  const text = join(work, 'text.txt')
  writeFileSync(
    text,
    Array.from({ length: 4000 }, () => 'abcdefghijklmnopqrstuvwxy \n'[Math.floor(random() * 27)]).join(''),
  )
  const short = ['--samples', '8', '--length', '64', '--context', '64', '--windows', '2']
  await series('tiny', Number(flags.tiny), [
    tiny,
    '--bits',
    '3',
    '--group-size',
    '16',
    '--calib',
    text,
    '--text',
    text,
    ...short,
  ])
  if (flags.model) {
    await series('real', Number(flags.real), [
      flags.model,
      '--bits',
      '3',
      '--samples',
      '16',
      '--length',
      '256',
      '--windows',
      '2',
      '--context',
      '256',
    ])
  } else process.stdout.write('real: left out, since no --model was given\n')
} finally {
  rmSync(work, { recursive: true, force: true })
}
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1
