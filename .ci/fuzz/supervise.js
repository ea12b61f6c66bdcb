/** Starts workers, watches that none hangs, dies or takes memory without end, and runs what was suspicious once more alone. */
import { fork } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { limits } from './limits.js'

const worker = fileURLToPath(new URL('./worker.js', import.meta.url))
/** Memory as files, where there is such a place: cases are written some thousand times a second. */
const roomy = () => {
  try {
    return mkdtempSync('/dev/shm/pare-fuzz-')
  } catch {
    return mkdtempSync(join(tmpdir(), 'pare-fuzz-'))
  }
}

const POLL = 200
/** Of processor time at one seed: far past the limit of a second, so that the worker's own measure comes first. */
const MOST_TICKS = 400
const MOST_WALL = 120_000
const MOST_RESIDENT = 3 * 2 ** 30

function usage(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')
    return { ticks: Number(fields[11]) + Number(fields[12]), resident: Number(fields[21]) * 4096 }
  } catch {
    return undefined
  }
}

/** One worker to its end. @returns its message, or at which seed it was stopped and why */
function runWorker(mode, reader, numbers, each = () => {}) {
  const root = roomy()
  const child = fork(
    worker,
    [mode, ...(reader === undefined ? [] : [reader]), ...numbers.map(String), root],
    {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      execArgv: ['--expose-gc', '--max-old-space-size=600', '--no-warnings'],
      env: {
        ...process.env,
        MALLOC_MMAP_THRESHOLD_: '131072',
        MALLOC_TRIM_THRESHOLD_: '131072',
        PARE_THREADS: '1',
        RUST_BACKTRACE: '0',
      },
    },
  )
  let errors = ''
  child.stderr.on('data', (text) => {
    errors = (errors + text).slice(-2000)
  })
  const seedNow = () => {
    try {
      return Number(readFileSync(join(root, 'seed'), 'latin1'))
    } catch {
      return numbers[0]
    }
  }
  return new Promise((done) => {
    let message
    let stopped
    let at = { seed: -1, ticks: 0, since: 0 }
    const watch = setInterval(() => {
      const now = usage(child.pid)
      if (!now) return
      const seed = seedNow()
      if (seed !== at.seed) at = { seed, ticks: now.ticks, since: Date.now() }
      else if (now.ticks - at.ticks > MOST_TICKS || Date.now() - at.since > MOST_WALL) stopped ??= 'hang'
      if (now.resident > MOST_RESIDENT) stopped ??= 'memory'
      if (stopped) child.kill('SIGKILL')
    }, POLL)
    child.on('message', (sent) => {
      if (sent.result) each(sent.result)
      else message = sent
    })
    child.on('close', (code, signal) => {
      clearInterval(watch)
      const seed = seedNow()
      rmSync(root, { recursive: true, force: true })
      if (message && !stopped) done(message)
      else
        done({
          ended: {
            seed,
            why: stopped ?? 'crash',
            what: `${stopped ?? ''} ${signal ?? `exit code ${code}`} ${errors}`.trim(),
          },
        })
    })
  })
}

const MOST_FAULTS = 50
/** So that what leaks shows as memory, and a start costs little beside the cases. */
const PER_WORKER = 20_000

/**
 * All cases of a reader.
 *
 * @param report is called with each fault, and now and then with the totals so far
 */
export async function runReader(reader, first, count, { fault = () => {}, progress = () => {} } = {}) {
  const totals = {
    cases: 0,
    opened: 0,
    refused: 0,
    faults: 0,
    slowest: 0,
    slowestSeed: 0,
    memory: 0,
    memorySeed: 0,
    codes: {},
  }
  const add = (more) => {
    for (const key of ['cases', 'opened', 'refused']) totals[key] += more[key]
    if (more.slowest > totals.slowest)
      Object.assign(totals, { slowest: more.slowest, slowestSeed: more.slowestSeed })
    if (more.memory > totals.memory)
      Object.assign(totals, { memory: more.memory, memorySeed: more.memorySeed })
    for (const [code, times] of Object.entries(more.codes))
      totals.codes[code] = (totals.codes[code] ?? 0) + times
  }
  const found = (seed, kind, what) => {
    totals.faults++
    fault({ seed, kind, what })
  }
  // Beyond some tens of faults the rest would tell nothing new.
  for (let seed = first; seed < first + count && totals.faults < MOST_FAULTS; ) {
    const share = Math.min(PER_WORKER, first + count - seed)
    const { totals: more, suspects, ended } = await runWorker('cases', reader, [seed, share])
    if (ended) {
      // What came before it is run again without it, so that every case counts once.
      if (ended.seed > seed) {
        const before = await runWorker('cases', reader, [seed, ended.seed - seed])
        if (before.totals) add(before.totals)
        for (const suspect of before.suspects ?? []) await look(suspect)
      }
      await look({ seed: ended.seed, kind: ended.why, what: ended.what })
      totals.cases++
      seed = ended.seed + 1
    } else {
      add(more)
      for (const suspect of suspects) await look(suspect)
      seed += more.cases
    }
    progress(totals)
  }
  return totals

  /** Faults stand; time and memory count where the case takes them alone too. */
  async function look({ seed, kind, what }) {
    if (kind === 'fault') return found(seed, kind, what)
    const { found: alone, ended } = await runWorker('alone', reader, [seed])
    if (ended) return found(seed, ended.why, ended.what)
    if (kind === 'crash') return found(seed, kind, `${what} (not when it is run alone)`)
    if (alone.wrong) return found(seed, 'fault', alone.wrong)
    if (alone.milliseconds > limits.milliseconds)
      return found(seed, 'time', `takes ${alone.milliseconds.toFixed(0)} ms of the processor`)
    const { caseOf, readers } = await import('./readers.js')
    const { bytes } = caseOf(
      readers.find(({ name }) => name === reader),
      seed,
    )
    if (alone.memory > limits.memory(bytes))
      return found(
        seed,
        'memory',
        `takes ${(alone.memory / 2 ** 20).toFixed(0)} MiB for ${bytes} bytes of files`,
      )
    totals.slowest = Math.max(totals.slowest, alone.milliseconds)
    totals.memory = Math.max(totals.memory, alone.memory - bytes)
  }
}

/** A case of a seed alone. */
export const runSeed = (reader, seed) => runWorker('alone', reader, [seed])

/**
 * The whole corpus. @returns each case with what is wrong of it
 */
export async function runCorpus() {
  const { corpus } = await import('./corpus.js')
  const cases = corpus()
  const results = []
  for (let first = 0; first < cases.length; ) {
    const { ended } = await runWorker('corpus', undefined, [first, 1000], (result) => results.push(result))
    if (!ended) break
    const { reader, name } = cases[ended.seed]
    results.push({ at: ended.seed, reader, name, milliseconds: 0, memory: 0, wrong: ended.what })
    first = ended.seed + 1
  }
  return results
}
