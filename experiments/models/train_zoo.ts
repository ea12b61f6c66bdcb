/**
 * Trains models of the zoo and records what they cost and gave.
 *
 *   node dist/experiments/models/train_zoo.js NAME... [--assets DIR] [--commit ID] [--threads N]
 *
 * Each stays in the cache, where a model that is there already is recorded as it is; `trained.json` beside the recipes
 * gets its line. pare-4m is copied beside them, with weights. `--commit` names the commit that a model was trained at.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { instructionSet, setThreads } from 'pare'
import { readTrainingReport, reportName, type TrainingReport } from '#src/run/training/training_report.ts'
import { currentCommit, describeMachine, machineLine } from '../machine.ts'
import { root } from '../repository.ts'
import { modelsFolder, zooModel } from './zoo.ts'

const { values: flags, positionals: names } = parseArgs({
  allowPositionals: true,
  options: {
    assets: { type: 'string' },
    commit: { type: 'string' },
    threads: { type: 'string', default: '2' },
  },
})
const say = (text: string) => process.stderr.write(`${text}\n`)
const pretty = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`
const commit = flags.commit ?? currentCommit(root)
const machine = machineLine(describeMachine(instructionSet()))
const threads = Number(flags.threads)
setThreads(threads)
const isCommitted = (name: string) => name === 'pare-4m'

for (const name of names) {
  let shown = 0
  const folder = await zooModel(name, {
    ...(flags.assets && { assets: flags.assets }),
    fresh: isCommitted(name),
    progress(event) {
      if (event.kind !== 'training' || performance.now() - shown < 10_000) return
      shown = performance.now()
      say(`${name}: step ${event.step} of ${event.steps}, loss ${event.loss?.toFixed(3)}`)
    },
  })
  const report = readTrainingReport(folder)!
  record(name, report)
  if (isCommitted(name)) keep(folder, join(modelsFolder, name), name, report)
}

function record(name: string, { parameters, seconds, evaluation }: TrainingReport): void {
  const file = join(modelsFolder, 'trained.json')
  const all = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
  all[name] = { parameters, seconds, threads, evaluation, commit, machine }
  writeFileSync(file, pretty(Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)))))
}

/** Copies a trained folder into the repository, with the licence; the report names no folder of this machine. */
function keep(from: string, to: string, name: string, report: TrainingReport): void {
  mkdirSync(to, { recursive: true })
  for (const file of report.files) if (file !== reportName) copyFileSync(join(from, file), join(to, file))
  copyFileSync(join(root, 'LICENSE'), join(to, 'LICENSE'))
  writeFileSync(join(to, reportName), pretty({ ...report, output: name, commit, machine, threads }))
  say(`${name}: ${to}`)
}
