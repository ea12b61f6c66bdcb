/**
 * Runs the cases of one reader from a seed on, in a process of its own, and tells what came of each. The seed that it is
 * at stands in a file, so that whoever watches knows it when the process ends or hangs.
 */
import { openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { PareError } from 'pare'
import { limits } from './limits.js'
import { Place } from './place.js'
import { randomOf } from './random.js'
import { caseOf, readers } from './readers.js'

/** The most memory that was resident since the last reset. */
const resetPeak = () => writeFileSync('/proc/self/clear_refs', '5')
const statusOf = (field) =>
  Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync('/proc/self/status', 'latin1'))[1]) * 1024
const openFiles = () => readdirSync('/proc/self/fd').length

/** Reads one case. @returns what came of it, processor time, and what is wrong with it besides */
async function run(reader, { files, random }, place) {
  const before = process.cpuUsage()
  let outcome
  let wrong
  try {
    await reader.read(files, place, random)
    outcome = 'opened'
  } catch (error) {
    outcome = error instanceof PareError ? 'refused' : 'fault'
    if (outcome === 'fault') wrong = error?.stack ?? String(error)
    else outcome = `refused ${error.code}`
  }
  const { user, system } = process.cpuUsage(before)
  return { outcome, wrong, milliseconds: (user + system) / 1000 }
}

/** One case alone, after others have warmed the process up: what it takes itself, without the garbage of others. */
export async function runAlone(reader, made, place) {
  resetPeak()
  globalThis.gc?.()
  globalThis.gc?.()
  resetPeak()
  const resident = statusOf('VmRSS')
  const found = await run(reader, made, place)
  return { ...found, memory: statusOf('VmHWM') - resident }
}

async function main([name, first, count, root]) {
  const reader = readers.find((each) => each.name === name)
  const place = new Place(root)
  const progress = openSync(join(root, 'seed'), 'w')
  const last = Number(first) + Number(count)
  const totals = {
    cases: 0,
    opened: 0,
    refused: 0,
    slowest: 0,
    slowestSeed: 0,
    memory: 0,
    memorySeed: 0,
    codes: {},
  }
  const suspects = []
  const filesBefore = openFiles()
  let resident = statusOf('VmRSS')
  for (let seed = Number(first); seed < last; seed++) {
    writeSync(progress, String(seed).padStart(12), 0)
    const made = caseOf(reader, seed)
    const { outcome, wrong, milliseconds } = await run(reader, made, place)
    totals.cases++
    if (outcome === 'opened') totals.opened++
    else if (outcome !== 'fault') {
      totals.refused++
      const code = outcome.slice('refused '.length)
      totals.codes[code] = (totals.codes[code] ?? 0) + 1
    }
    if (wrong !== undefined) suspects.push({ seed, kind: 'fault', what: wrong })
    // What the cases before it left behind counts as well: whatever is past a limit is run again at once, on its own.
    const peak = process.resourceUsage().maxRSS * 1024
    if (seed - first < 50) resident = Math.max(resident, statusOf('VmRSS'))
    let [time, memory] = [milliseconds, peak - resident]
    if (time > limits.milliseconds || memory > limits.memory(made.bytes) / 2) {
      const again = await runAlone(reader, caseOf(reader, seed), place)
      if (again.milliseconds > limits.milliseconds) suspects.push({ seed, kind: 'time' })
      else if (again.memory > limits.memory(made.bytes)) suspects.push({ seed, kind: 'memory' })
      ;[time, memory] = [again.milliseconds, again.memory]
      globalThis.gc?.()
      resetPeak()
      resident = statusOf('VmRSS')
    }
    if (time > totals.slowest) [totals.slowest, totals.slowestSeed] = [time, seed]
    if (memory - made.bytes > totals.memory) [totals.memory, totals.memorySeed] = [memory - made.bytes, seed]
    if (suspects.length > 200) break
  }
  globalThis.gc?.()
  await new Promise((done) => setTimeout(done, 20))
  const left = openFiles() - filesBefore
  if (left > 10)
    suspects.push({
      seed: Number(first),
      kind: 'fault',
      what: `${left} files are left open after ${totals.cases} cases`,
    })
  process.send({ totals, suspects }, () => process.exit(0))
}

/** `alone NAME SEED ROOT`: with what is measured of it. */
async function alone([name, seed, root]) {
  const reader = readers.find((each) => each.name === name)
  const place = new Place(root)
  const progress = openSync(join(root, 'seed'), 'w')
  // Others first, so that what is loaded and compiled once does not count.
  for (let other = 1; other <= 40; other++) await run(reader, caseOf(reader, 1_000_000_000 + other), place)
  writeSync(progress, String(seed).padStart(12), 0)
  const found = await runAlone(reader, caseOf(reader, Number(seed)), place)
  process.send({ found }, () => process.exit(0))
}

/** `corpus FIRST COUNT ROOT`: each case of the corpus with what is wrong of it. */
async function replay([first, count, root]) {
  const place = new Place(root)
  const progress = openSync(join(root, 'seed'), 'w')
  const warm = new Set()
  // Only here: the other modes have no use for it.
  const { bytesOfCase, corpus, judge } = await import('./corpus.js')
  const cases = corpus()
  for (let at = Number(first); at < Math.min(cases.length, Number(first) + Number(count)); at++) {
    const made = cases[at]
    const { files } = made
    const bytes = bytesOfCase(files)
    const reader = readers.find((each) => each.name === made.reader)
    writeSync(progress, String(at).padStart(12), 0)
    // Others first, so that what is loaded and compiled once does not count.
    if (!warm.has(reader))
      for (let other = 1; other <= 20; other++)
        await run(reader, caseOf(reader, 1_000_000_000 + other), place)
    warm.add(reader)
    const take = () => runAlone(reader, { files, random: randomOf(reader.name, at) }, place)
    let found = await take()
    if (found.milliseconds > limits.milliseconds || found.memory > limits.memory(bytes)) found = await take()
    const wrong = judge(made, found, limits, bytes)
    process.send({
      result: {
        at,
        reader: made.reader,
        name: made.name,
        milliseconds: found.milliseconds,
        memory: found.memory,
        wrong,
      },
    })
  }
  process.send({ cases: cases.length }, () => process.exit(0))
}

const modes = { alone, cases: main, corpus: replay }
const [mode, ...rest] = process.argv.slice(2)
if (process.send) await modes[mode](rest)
