/**
 * The folder of a run. Until the result is whole it lies in `.pare` inside of the output:
 *
 *   .pare/lock              held by the process that works; the system lets go of it when the process ends
 *   .pare/journal.jsonl     what is done
 *   .pare/transform-*, stage-*, tuned-*, inputs-*  what is kept of it
 *   .pare/result/           the files of the result while they are put together
 *   .pare/baseline/         a run of its own: what the result is compared with
 *   .pare/removed/          the same while it goes
 *   .pare/replaced/         what stood at the output before, while it is exchanged
 *
 * Then the files move to the output, the one that makes a model of the folder last, and the journal with them.
 */
import { existsSync, readdirSync, rmdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { disk } from '../formats/disk.ts'
import { isUnfinished, writeFailure } from '../formats/output.ts'
import { workName } from '../models/source/incomplete_folder.ts'
import { OptionError, type PareError, printable } from '../tensor/errors.ts'
import { checkFingerprint } from './fingerprint.ts'
import { damagedJournal, emptyState, type JournalState, JournalWriter, readJournal } from './journal.ts'
import {
  type Fingerprint,
  JOURNAL_VERSION,
  type JournalEntry,
  journalName,
  type StageEntry,
  type TransformEntry,
  type TunedEntry,
} from './journal_entries.ts'
import { checkOutput } from './output_place.ts'
import { lockWork, unlockWork } from './run_lock.ts'
import { storedSize } from './stored_size.ts'

/** Folder inside `.pare` for the run that the result is compared with. */
export const baselineName = 'baseline'

export interface RunFolderOptions {
  fingerprint: Fingerprint
  /** Replaces what stands at the output once the result is whole. */
  overwrite: boolean
  /** Discards what an unfinished run left, and does a finished one again. */
  restart: boolean
}

/** A run that is open: this process alone works on it. */
export class RunFolder {
  readonly output: string
  /** Where everything lies until the result is whole. */
  readonly work: string
  /** Where the files of the result are put together. */
  readonly result: string
  readonly state: JournalState
  private readonly lock: number
  private readonly journal: JournalWriter
  /** Whether the output was made for this run. */
  private readonly made: boolean

  private constructor(
    output: string,
    lock: number,
    made: boolean,
    { fingerprint, restart }: RunFolderOptions,
  ) {
    this.output = output
    this.work = join(output, workName)
    this.result = join(this.work, 'result')
    this.lock = lock
    this.made = made
    const path = join(this.work, journalName)
    if (restart) this.clear()
    this.state = readJournal(path) ?? emptyState(fingerprint)
    checkFingerprint(this.state.fingerprint, fingerprint, output)
    this.journal = new JournalWriter(path, this.state.length)
    if (this.state.length === 0) {
      disk().syncFolder(this.work)
      disk().syncFolder(output)
      this.journal.append({ kind: 'run', version: JOURNAL_VERSION, fingerprint })
    }
    this.removeUnnamed()
  }

  /**
   * Opens the run of an output, or begins one.
   *
   * @returns the finished run where the output holds it already.
   * @throws OptionError where the output holds something else; StateError where it holds another run, or another
   * process works on it.
   */
  static open(path: string, options: RunFolderOptions): RunFolder | 'done' {
    const output = resolve(path)
    checkOutput(output, options.overwrite || options.restart)
    if (!options.overwrite && !options.restart && isFinished(output, options.fingerprint)) return 'done'
    const made = !existsSync(output)
    let lock: number
    try {
      lock = lockWork(output)
    } catch (error) {
      if (made) removeIfEmpty(output)
      throw error
    }
    try {
      return new RunFolder(output, lock, made, options)
    } catch (error) {
      unlockWork(lock)
      throw error
    }
  }

  /** Whether an output holds the journal of a run, finished or not. */
  static hasBegun(output: string): boolean {
    return [journalName, join(workName, journalName)].some((name) => existsSync(join(resolve(output), name)))
  }

  /** Stages that are finished. */
  get stages(): readonly StageEntry[] {
    return this.state.stages
  }

  /** Of work that is recorded. */
  get seconds(): number {
    const { result, tuned, stages, transforms } = this.state
    return (result ?? tuned ?? stages.at(-1) ?? transforms.at(-1))?.seconds ?? 0
  }

  /** Records what a transform found, which is in its file. */
  addTransform(entry: TransformEntry): void {
    this.append(entry)
    this.state.transforms.push(entry)
  }

  addStage(entry: StageEntry): void {
    this.append(entry)
    // Only the latest inputs are needed to go on.
    const former = this.state.stages.at(-1)?.inputs
    this.state.stages.push(entry)
    if (former) disk().remove(join(this.work, former.name))
  }

  /** Records the stages of the model that was trained; the result is to be put together again. */
  addTuned(entry: TunedEntry): void {
    this.append(entry)
    const former = this.state.stages
    Object.assign(this.state, { stages: entry.stages, tuned: entry, result: undefined })
    for (const { shard } of former) disk().remove(join(this.work, shard.name))
  }

  /** Whether the files of the result are whole, and no others there but unfinished ones and `later`, which go. */
  hasResult(later: readonly string[]): boolean {
    const { result } = this.state
    if (!result || !existsSync(this.result)) return false
    const known = new Set(result.files.map(({ name }) => name))
    const others = readdirSync(this.result).filter((name) => !known.has(name))
    const whole =
      known.size > 0 &&
      result.files.every(({ name, bytes }) => storedSize(join(this.result, name)) === bytes) &&
      others.every((name) => later.includes(name) || isUnfinished(name))
    if (whole) for (const name of others) disk().remove(join(this.result, name))
    return whole
  }

  /** Makes the folder of the result, empty. */
  clearResult(): void {
    disk().remove(this.result)
    disk().makeFolder(this.result)
  }

  /** Records that the files of the result are whole. */
  addResult(seconds: number): void {
    const files = readdirSync(this.result)
      .sort()
      .map((name) => ({ name, bytes: storedSize(join(this.result, name))! }))
    disk().syncFolder(this.result)
    disk().syncFolder(this.work)
    const entry = { kind: 'result', files, seconds } as const
    this.append(entry)
    this.state.result = entry
  }

  private append(entry: JournalEntry): void {
    this.journal.append(entry)
  }

  /** Puts the result at the output, and ends the run. May be done again where it was stopped in between. */
  publish(last: string): void {
    const { state, output, work, result } = this
    try {
      if (!state.publish) {
        state.publish = readdirSync(result).sort(
          (a, b) => Number(a === last) - Number(b === last) || (a < b ? -1 : 1),
        )
        disk().syncFolder(result)
        this.append({ kind: 'publish', files: state.publish })
      } else this.checkPublish(state.publish)
      const names = new Set(state.publish)
      const replaced = join(work, 'replaced')
      const old = readdirSync(output).filter(
        (name) => name !== workName && (!names.has(name) || existsSync(join(result, name))),
      )
      if (old.length > 0) disk().makeFolder(replaced)
      for (const name of old) {
        disk().remove(join(replaced, name))
        disk().rename(join(output, name), join(replaced, name))
      }
      for (const name of state.publish)
        if (existsSync(join(result, name))) disk().rename(join(result, name), join(output, name))
      disk().syncFolder(output)
      if (!state.done) this.append({ kind: 'done' })
      this.journal.close()
      disk().rename(join(work, journalName), join(output, journalName))
      disk().syncFolder(output)
    } catch (cause) {
      throw isSystemError(cause) ? writeFailure(cause, output, 0) : cause
    }
    this.release()
    disk().remove(work)
  }

  /** Every file has to be where it comes from or where it goes to, and none may stay behind. */
  private checkPublish(files: readonly string[]): void {
    const waiting = existsSync(this.result) ? readdirSync(this.result) : []
    const wrong =
      files.find((name) => !waiting.includes(name) && !existsSync(join(this.output, name))) ??
      waiting.find((name) => !files.includes(name))
    if (wrong === undefined && files.length > 0) return
    throw damagedJournal(
      join(this.work, journalName),
      `does not fit the files of the result (${printable(wrong ?? 'none')})`,
    )
  }

  /** Leaves the run for later, where there is something to keep. @returns the stages that are kept */
  leave(keep: boolean): number {
    const kept = keep ? this.state.stages.length : 0
    const isBegun = keep && this.state.transforms.length > 0
    const empty = kept === 0 && !isBegun && !this.state.publish
    try {
      this.journal.close()
      if (empty) disk().remove(this.work)
    } finally {
      this.release()
    }
    if (empty && this.made) removeIfEmpty(this.output)
    return kept
  }

  private release(): void {
    unlockWork(this.lock)
  }

  /** Ends the run that the result was compared with. A process that dies in between leaves no half of it. */
  removeBaseline(): void {
    const [baseline, removed] = [join(this.work, baselineName), join(this.work, 'removed')]
    disk().remove(removed)
    if (existsSync(baseline)) disk().rename(baseline, removed)
    disk().remove(removed)
  }

  /** Removes everything but the lock: the journal first, since without it the rest is known to be left over. */
  private clear(): void {
    disk().remove(join(this.work, journalName))
    for (const name of readdirSync(this.work)) if (name !== 'lock') disk().remove(join(this.work, name))
  }

  /** Removes what the journal does not know: files that were being written when a process ended. */
  private removeUnnamed(): void {
    const { transforms, stages, result, publish } = this.state
    const files = [...transforms.map(({ file }) => file), ...stages.map(({ shard }) => shard)]
    const known = new Set(['lock', journalName, ...files.map(({ name }) => name)])
    const inputs = stages.at(-1)?.inputs
    if (inputs) known.add(inputs.name)
    if (result) known.add('result').add(baselineName)
    if (publish) known.add('replaced')
    for (const name of readdirSync(this.work)) if (!known.has(name)) disk().remove(join(this.work, name))
  }
}

/** Whether the output holds this very run, finished. @throws StateError where it holds another one */
function isFinished(output: string, fingerprint: Fingerprint): boolean {
  const work = join(output, workName)
  if (existsSync(join(work, journalName)) || !existsSync(join(output, journalName))) return false
  const state = readJournal(join(output, journalName))!
  checkFingerprint(
    state.fingerprint,
    fingerprint,
    output,
    'give --overwrite to replace it, or name another output',
  )
  const missing = state.publish!.filter((name) => !existsSync(join(output, name)))
  if (missing.length > 0)
    throw new OptionError(
      `--output: ${printable(output)} holds a finished run without its ${missing.map((name) => printable(name)).join(', ')}; give --overwrite to make it again`,
      { code: 'PARE_E_OUTPUT', facts: { output, missing } },
    )
  // The process ended when only its empty folder was left to be removed.
  if (existsSync(work)) {
    const lock = lockWork(output)
    unlockWork(lock)
    disk().remove(work)
  }
  return true
}

const isSystemError = (error: unknown): boolean =>
  typeof (error as NodeJS.ErrnoException).errno === 'number' && (error as PareError).exitCode === undefined

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path)
  } catch {
    // Something is in it, or it is not there.
  }
}
