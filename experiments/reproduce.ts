/** Runs experiments by name; `pare reproduce` calls it. */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { instructionSet } from 'pare'
import { disk } from '#src/formats/disk.ts'
import { writeFailure } from '#src/formats/output.ts'
import { nearestField } from '#src/nn/nearest_names.ts'
import { tryLock, unlockWork } from '#src/run/run_lock.ts'
import { OptionError, printable, SourceError, StateError } from '#src/tensor/errors.ts'
import {
  type AnyExperiment,
  type Claim,
  type Context,
  commandOf,
  type Job,
  type Result,
  type Stamp,
} from './experiment.ts'
import { experiments } from './experiments.ts'
import { drawFigure, figureLibrary } from './figure.ts'
import { appendRun, latestRuns, readJournal } from './journal.ts'
import { currentCommit, describeMachine, hashOf, machineLine } from './machine.ts'
import { root } from './repository.ts'

export interface ReproduceOptions {
  /** A small version in at most 30 seconds, in a temporary folder. @default false */
  quick?: boolean | undefined
  /** @default 0, 1, 2; 0 where quick */
  seeds?: readonly number[] | undefined
  /** @default all jobs */
  only?: readonly string[] | undefined
  /** @default docs/results of the repository, results in an installation */
  output?: string | undefined
  /** @default PARE_ASSETS */
  assets?: string | undefined
  /** Makes the record and the page from the runs there are, and measures nothing. @default false */
  write?: boolean | undefined
  /** Names the commit of a tree without git. */
  commit?: string | undefined
}

const say = (text: string) => process.stderr.write(`${text}\n`)

/** Name, title and assets of every experiment. */
export const list = () =>
  Object.values(experiments).map((experiment) => ({
    name: experiment.name,
    title: experiment.title,
    assets: experiment.assets(false),
  }))

export interface Outcome {
  experiment: string
  /** Whether it was the small version. */
  quick: boolean
  /** Folder of the results; absent where it was temporary. */
  output?: string
  claims: Claim[]
  /** Orders with a wide margin that a quick run missed. */
  failures: string[]
  runs: number
}

/**
 * Runs an experiment by its name, or goes on with it.
 *
 * @throws OptionError for a name that is none, and jobs that are none; SourceError where assets or vega are missing
 */
export const reproduce = (name: string, options: ReproduceOptions = {}): Promise<Outcome> =>
  runExperiment(experimentOf(name), options)

export async function runExperiment(
  experiment: AnyExperiment,
  options: ReproduceOptions = {},
): Promise<Outcome> {
  const { name } = experiment
  const { quick = false, seeds = quick ? [0] : [0, 1, 2], only } = options
  await figureLibrary()
  const jobs: Job[] = experiment.jobs({ quick, seeds, only })
  if (jobs.length === 0) throw new OptionError(`--only: fits none of the jobs of ${name}; leave it out`)
  const assets = assetFolder(experiment, options)
  const output = outputFolder(options.output, quick)
  const unlock = lockJournal(output, name)
  try {
    const sources = hashOf(root, experiment.sources)
    const context: Context = { assets, quick, record: readRecord(root, name), sources, say }
    const commit = options.commit ?? currentCommit(root)
    const { runs, record } = await measureJobs(experiment, jobs, {
      ...options,
      output,
      context,
      commit,
      seeds,
    })
    const result: Result = {
      ...record,
      seeds: [...new Set(runs.map(({ seed }) => seed))].sort((a, b) => a - b),
      machines: [...new Set(runs.map(({ machine }) => machine))],
      summary: experiment.summary(runs),
      runs,
    }
    await writeResult(experiment, output, result)
    const isKept = !quick || options.output !== undefined
    return {
      experiment: name,
      quick,
      ...(isKept ? { output } : {}),
      claims: experiment.claims(result),
      failures: quick ? experiment.failures(result, context) : [],
      runs: runs.length,
    }
  } finally {
    unlock()
    if (quick && options.output === undefined) rmSync(output, { recursive: true, force: true })
  }
}

interface Measuring extends ReproduceOptions {
  output: string
  context: Context
  commit: string
  seeds: readonly number[]
}

/** Measures what the journal does not hold; returns all that stands in the record. */
async function measureJobs(
  experiment: AnyExperiment,
  jobs: readonly Job[],
  { output, context, commit, seeds, quick = false, write = false }: Measuring,
): Promise<{ runs: (Job & Stamp)[]; record: Omit<Result, 'runs'> }> {
  const { name } = experiment
  const { sources } = context
  const facts = await experiment.begin?.(context)
  const record = {
    experiment: name,
    commit,
    command: commandOf(name, quick),
    sources,
    ...(facts ? facts.record : {}),
  }
  const stamp: Stamp = { sources, commit, machine: machineLine(describeMachine(instructionSet())) }
  const journal = join(output, `${name}.runs.jsonl`)
  const runs: (Job & Stamp)[] = readJournal(journal, say)
  const picked = (): (Job & Stamp)[] => {
    const all = [...new Set([...seeds, ...runs.map(({ seed }) => seed)])].sort((a, b) => a - b)
    const wanted: Job[] = experiment.jobs({ quick, seeds: all })
    return experiment.pick?.(runs, record, wanted) ?? latestRuns(runs, wanted, sources)
  }
  for (const [index, job] of (write ? [] : jobs).entries()) {
    const title = `${index + 1}/${jobs.length}  ${experiment.describe(job)}`
    const before = picked().find(
      (run) =>
        experiment.describe(run) === experiment.describe(job) &&
        (experiment.isDone?.(run, job, record) ?? true),
    )
    if (!before) say(`${title} ...`)
    const run: Job & Stamp = before ?? {
      ...job,
      ...(await experiment.measure(job, context)),
      ...stamp,
      ...facts?.run,
    }
    if (!before) {
      appendRun(journal, run)
      runs.push(run)
    }
    say(`${title}: ${experiment.outcome(run)}${before ? ' (known)' : ''}`)
  }
  const kept = picked()
  if (kept.length === 0) throw new OptionError(`${name}: no run is done yet; run it without --write`)
  return { runs: kept, record }
}

function experimentOf(name: string): AnyExperiment {
  const found = Object.hasOwn(experiments, name) ? experiments[name] : undefined
  if (found) return found
  const names = Object.keys(experiments)
  throw new OptionError(
    `${printable(name)}: is no experiment; the nearest is ${nearestField(name, names)}, all are ${names.join(', ')}`,
    { code: 'PARE_E_USAGE' },
  )
}

/** The folder of assets. @throws SourceError where it lacks what the experiment reads, before anything is measured */
function assetFolder(
  experiment: AnyExperiment,
  { quick = false, write = false, assets: given }: ReproduceOptions,
): string | undefined {
  const folder = given ?? process.env.PARE_ASSETS
  const groups = experiment.assets(quick)
  // The script that fetches a group leaves its sums there.
  const missing = folder ? groups.filter((group) => !existsSync(join(folder, '.sums', group))) : groups
  if (missing.length === 0 || (folder && write)) return folder
  throw new SourceError(
    `${experiment.name}${quick ? ' --quick' : ''}: reads ${missing.join(', ')}, and ${folder ? `${printable(folder)} lacks them` : 'no folder of assets is set'}; fill one with \`bash interop/assets.sh DIR ${missing.join(' ')}\` and set PARE_ASSETS=DIR`,
    { code: 'PARE_E_ASSET', facts: { groups: missing } },
  )
}

/** The folder of the results, made where it is not there. @throws OptionError for a file, ResourceError where none can be made */
function outputFolder(given: string | undefined, quick: boolean): string {
  const own = join(root, 'docs/results')
  const output =
    given ?? (quick ? mkdtempSync(join(tmpdir(), 'pare-result-')) : existsSync(own) ? own : 'results')
  if (output === '' || (existsSync(output) && !statSync(output).isDirectory()))
    throw new OptionError(
      `--output: a folder is needed, got ${output === '' ? 'nothing' : `the file ${printable(output)}`}; name one that is there or can be made`,
      { code: 'PARE_E_OUTPUT', facts: { output } },
    )
  try {
    disk().makeFolder(output)
  } catch (cause) {
    throw writeFailure(cause, output, 0)
  }
  return output
}

/** This process alone adds runs. @throws StateError where another one does */
function lockJournal(output: string, name: string): () => void {
  const path = join(output, `.${name}.lock`)
  const lock = tryLock(path)
  if (lock === undefined)
    throw new StateError(
      `--output: another process measures ${name} in ${printable(output)}; wait for it, or name another folder`,
      { code: 'PARE_E_RUN_LOCKED', facts: { output } },
    )
  return () => {
    rmSync(path, { force: true })
    unlockWork(lock)
  }
}

/** The record that stands in the pages, where there is one. */
export function readRecord(root: string, name: string): Result | undefined {
  const file = join(root, `docs/results/${name}.json`)
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
}

async function writeResult(experiment: AnyExperiment, output: string, result: Result): Promise<void> {
  writeFileSync(join(output, `${experiment.name}.json`), `${JSON.stringify(result, null, 2)}\n`)
  writeFileSync(join(output, `${experiment.name}.md`), experiment.page(result, false))
  for (const [file, spec] of experiment.figures(result))
    writeFileSync(join(output, file), `${await drawFigure(spec)}\n`)
}
