#!/usr/bin/env node
/**
 * Damages files by seed and reads them whole: `.ci/fuzz.js [--cases N] [--first SEED] [--reader NAME] [--json]`, for each
 * reader or one. `--seed SEED --reader NAME` runs one case and prints what it found; `--keep FOLDER` writes its files there.
 * Every case must end in a typed error or in what can be read, within a second of processor time and within twice its
 * files and 64 MiB of memory. The stored corpus is read first. Pare must be built.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { currentCommit, describeMachine, machineLine } from '../dist/experiments/machine.js'
import { instructionSet } from '../dist/tensor/index.js'
import { parseArgs } from './arguments.js'
import { caseOf, readers } from './fuzz/readers.js'
import { runCorpus, runReader, runSeed } from './fuzz/supervise.js'

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '300' },
    first: { type: 'string', default: '0' },
    reader: { type: 'string' },
    json: { type: 'boolean', default: false },
    seed: { type: 'string' },
    keep: { type: 'string' },
    'no-corpus': { type: 'boolean', default: false },
  },
})
const wanted = values.reader?.split(',')
const unknown = wanted?.find((name) => readers.every((reader) => reader.name !== name))
if (unknown !== undefined || (values.seed !== undefined && wanted?.length !== 1)) {
  process.stderr.write(`.ci/fuzz.js: --reader is one of ${readers.map(({ name }) => name).join(', ')}\n`)
  process.exit(2)
}
const say = (text) => process.stdout.write(`${text}\n`)
const chosen = wanted ? wanted.map((name) => readers.find((reader) => reader.name === name)) : readers

if (values.seed !== undefined) {
  const seed = Number(values.seed)
  const { files } = caseOf(chosen[0], seed)
  if (values.keep !== undefined) {
    mkdirSync(values.keep, { recursive: true })
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(values.keep, basename(name)), bytes)
  }
  const { found, ended } = await runSeed(chosen[0].name, seed)
  if (found)
    say(
      `${found.outcome}, ${found.milliseconds.toFixed(1)} ms, ${(found.memory / 2 ** 20).toFixed(1)} MiB${found.wrong ? `\n${found.wrong}` : ''}`,
    )
  else say(ended.what)
  process.exit(found && found.outcome !== 'fault' ? 0 : 1)
}

/** The message and where it came from. */
const shortened = (what) =>
  what
    .split('\n')
    .slice(0, 4)
    .map((line) =>
      line
        .trim()
        .replace(/file:\/\/\S*\/(dist|\.ci)\//, '$1/')
        .slice(0, 240),
    )
    .join('\n        ')

const origin = {
  commit: currentCommit(fileURLToPath(new URL('..', import.meta.url))),
  machine: machineLine(describeMachine(instructionSet())),
}
let [passed, failed] = [0, 0]
if (!values['no-corpus'] && !wanted) {
  const results = await runCorpus()
  const wrong = results.filter((result) => result.wrong !== undefined)
  for (const { reader, name, wrong: what } of wrong)
    say(`FAILED  corpus, ${reader}, ${name}: ${shortened(what)}`)
  const slowest = results.reduce((most, { milliseconds }) => Math.max(most, milliseconds), 0)
  say(
    `${wrong.length === 0 ? 'ok     ' : 'FAILED '} corpus: ${results.length} files, ${wrong.length} faults; slowest ${slowest.toFixed(0)} ms`,
  )
  if (wrong.length === 0) passed++
  else failed++
}
const [first, cases] = [Number(values.first), Number(values.cases)]
for (const { name } of chosen) {
  const started = Date.now()
  let shown = 0
  const seconds = () => (Date.now() - started) / 1000
  const totals = await runReader(name, first, cases, {
    // What is known by now, for a run that is stopped.
    progress(sofar) {
      if (values.json && sofar.cases < cases)
        say(JSON.stringify({ reader: name, first, ...sofar, seconds: seconds(), ...origin }))
    },
    fault({ seed, kind, what }) {
      if (shown++ < 8) say(`FAILED  ${name}, seed ${seed}, ${kind}: ${shortened(what)}`)
    },
  })
  const good = totals.faults === 0 && totals.refused > 0 && totals.opened > 0
  if (good) passed++
  else failed++
  if (values.json) say(JSON.stringify({ reader: name, first, ...totals, seconds: seconds(), ...origin }))
  else
    say(
      `${good ? 'ok     ' : 'FAILED '} ${name}: ${totals.cases} cases, ${totals.opened} opened, ${totals.refused} refused, ${totals.faults} faults; slowest ${totals.slowest.toFixed(0)} ms (seed ${totals.slowestSeed}), memory ${(totals.memory / 2 ** 20).toFixed(0)} MiB; ${seconds().toFixed(0)} s`,
    )
}
say(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0
