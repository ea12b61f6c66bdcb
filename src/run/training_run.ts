/**
 * A training with a folder of its own, which goes on where it was stopped:
 *
 *   .pare/lock           held by the process that works
 *   .pare/checkpoints/   the latest states, each whole
 *   log.jsonl            what happened, a line for each entry
 */
import { join, resolve } from 'node:path'
import { disk } from '../formats/disk.ts'
import { workName } from '../models/source/incomplete_folder.ts'
import type { Quality, TrainingBatch } from '../optim/training_task.ts'
import { AbortError, OptionError, printable, StateError } from '../tensor/errors.ts'
import { dispose, scope } from '../tensor/index.ts'
import type { StepReport, Trainer } from '../train/trainer.ts'
import {
  type Checkpoint,
  checkpointsIn,
  damagedCheckpoint,
  readCheckpoint,
  removeUnfinished,
  writeCheckpoint,
} from '../train/training_file.ts'
import { lockWork, unlockWork } from './run_lock.ts'
import { TrainingLog } from './training_log.ts'
import { TrainingSpeed } from './training_speed.ts'

export interface TrainingRunOptions<B extends TrainingBatch> {
  trainer: Trainer<B>
  /** Folder of the run. */
  output: string
  /** What must be the same to go on: the recipe with its data, as JSON can hold it. */
  run: unknown
  /** Steps in all; the data may end before. Whole, from 1 on. */
  steps: number
  /** Steps between two checkpoints; the last step is always one. @default 100 */
  checkpointEvery?: number
  /** Checkpoints that are kept. @default 2 */
  keep?: number
  /** Steps between two evaluations of the task; the last step always has one. @default at the end only */
  evaluateEvery?: number
  /** Steps between two lines of the log. @default 10 */
  logEvery?: number
  /** Discards what an earlier sitting left. @default false */
  restart?: boolean
  signal?: AbortSignal | undefined
  /** After every step. */
  progress?: (event: TrainingProgress) => void
  /** What is worth reading and no error: that a checkpoint was damaged, and which one served. */
  note?: (text: string) => void
}

export interface TrainingProgress {
  readonly step: number
  readonly steps: number
  readonly loss: number
  /** Units of work a second, in the last ten seconds or so. */
  readonly perSecond: number
  readonly unit: string
  /** Of the steps that are left, without evaluations. */
  readonly secondsLeft: number
}

export interface TrainingSummary {
  readonly steps: number
  readonly epoch: number
  /** Of the last step that learned. */
  readonly loss: number | undefined
  /** Steps that were left out. */
  readonly skipped: number
  readonly evaluation: Quality | undefined
  /** Where an earlier sitting had stopped. */
  readonly resumedAt: number | undefined
  /** Of work, over all sittings. */
  readonly seconds: number
}

/**
 * Trains to the end, or until `signal` stops it: then a checkpoint is written, and the same call goes on later, to the
 * same bits.
 *
 * @throws StateError where the folder holds a checkpoint of another run, or another process works on it; NumericalError
 * where a loss is not finite (the last good checkpoint stays); ResourceError where the disk is full; AbortError.
 */
export async function runTraining<B extends TrainingBatch>(
  options: TrainingRunOptions<B>,
): Promise<TrainingSummary> {
  const output = resolve(options.output)
  const lock = lockWork(output)
  try {
    return await runLocked({ ...options, output })
  } finally {
    unlockWork(lock)
  }
}

/** The same for a caller that holds the lock of the folder. */
export async function runLocked<B extends TrainingBatch>(
  options: TrainingRunOptions<B>,
): Promise<TrainingSummary> {
  const { steps, checkpointEvery = 100, evaluateEvery, logEvery = 10, keep = 2 } = options
  for (const [name, value] of Object.entries({ steps, checkpointEvery, logEvery, keep, evaluateEvery }))
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1))
      throw new OptionError(`${name}: needs a whole number from 1 on, got ${value}`)
  return new TrainingRun({ ...options, checkpointEvery, logEvery, keep }).run()
}

/** Folder of the checkpoints of an output. */
export const checkpointFolder = (output: string): string => join(output, workName, 'checkpoints')

type Settled<B extends TrainingBatch> = TrainingRunOptions<B> &
  Required<Pick<TrainingRunOptions<B>, 'checkpointEvery' | 'logEvery' | 'keep'>>

class TrainingRun<B extends TrainingBatch> {
  private readonly options: Settled<B>
  private readonly checkpoints: string
  private readonly started = performance.now()
  private readonly speed = new TrainingSpeed()
  /** Seconds of the sittings before this one. */
  private sooner = 0
  private evaluation: TrainingSummary['evaluation']

  constructor(options: Settled<B>) {
    this.options = options
    this.checkpoints = checkpointFolder(options.output)
  }

  async run(): Promise<TrainingSummary> {
    const { trainer, steps, output, checkpointEvery, evaluateEvery, logEvery, signal } = this.options
    const resumedAt = this.resume()
    const log = new TrainingLog(join(output, 'log.jsonl'), trainer.steps)
    const isEvaluated = (step: number) =>
      evaluateEvery !== undefined && step < steps && step % evaluateEvery === 0
    let { loss, skipped } = log.before
    /** Whether parameters and moments are those of one step, so that they may be saved. */
    let isWhole = true
    try {
      // A sitting may have ended between a step and its evaluation.
      if (resumedAt !== undefined && isEvaluated(resumedAt) && log.before.evaluatedAt !== resumedAt)
        await this.evaluate(log)
      while (trainer.steps < steps) {
        // Signals are heard between steps.
        await new Promise((done) => setImmediate(done))
        if (signal?.aborted) throw new AbortError()
        isWhole = false
        const rate = this.rate()
        const report = this.speed.timed(() => trainer.next())
        isWhole = true
        if (!report) break
        if (report.skipped) skipped++
        else loss = report.loss
        const { step } = report
        const ends = step === steps
        this.show(report)
        if (report.skipped || ends || step % logEvery === 0) log.append(this.lineOf(report, rate))
        if (isEvaluated(step)) await this.evaluate(log)
        if (!ends && step % checkpointEvery === 0) this.save()
      }
      trainer.finish()
      this.save()
      await this.evaluate(log)
      const { steps: done, epoch } = trainer
      const { evaluation, seconds } = this
      return { steps: done, epoch, loss, skipped, evaluation, resumedAt, seconds }
    } catch (error) {
      if (error instanceof AbortError && isWhole) this.save()
      throw error
    } finally {
      log.close()
    }
  }

  private async evaluate(log: TrainingLog): Promise<void> {
    const { trainer, signal } = this.options
    this.evaluation = await trainer.task.evaluate?.(signal)
    const { evaluatedAt } = log.before
    if (this.evaluation && evaluatedAt !== trainer.steps)
      log.append({
        step: trainer.steps,
        epoch: trainer.epoch,
        seconds: this.seconds,
        evaluation: this.evaluation,
      })
  }

  /** Steps that a checkpoint has, where there is one. */
  private resume(): number | undefined {
    const { trainer, restart } = this.options
    if (restart) disk().remove(this.checkpoints)
    removeUnfinished(this.checkpoints)
    const checkpoint = this.newest()
    if (!checkpoint) return undefined
    const { tensors, position, seconds } = checkpoint
    try {
      trainer.load(tensors, position)
    } finally {
      dispose(Object.values(tensors))
    }
    if (trainer.steps > this.options.steps)
      throw new StateError(
        `steps: the run has ${trainer.steps} behind it, more than the ${this.options.steps} that are asked for; ask for more, or give --restart`,
        { code: 'PARE_E_STEPS', facts: { done: trainer.steps, asked: this.options.steps } },
      )
    this.sooner = seconds
    return trainer.steps
  }

  /** The newest checkpoint; where it is damaged the one before, which the run is told. */
  private newest(): Checkpoint | undefined {
    const { run, note } = this.options
    const damaged: StateError[] = []
    for (const path of checkpointsIn(this.checkpoints).reverse())
      try {
        const checkpoint = readCheckpoint(path, run)
        for (const { facts } of damaged) {
          note?.(`${printable(String(facts.path))}: ${facts.why}; the run goes on from ${printable(path)}`)
          // It would count as one of those that are kept.
          disk().remove(String(facts.path))
        }
        return checkpoint
      } catch (error) {
        if (!(error instanceof StateError && error.code === damagedCheckpoint)) throw error
        damaged.push(error)
      }
    const [first] = damaged
    if (first) throw first
    return undefined
  }

  private save(): void {
    const { trainer, run, keep } = this.options
    scope(() =>
      writeCheckpoint(this.checkpoints, trainer.state(), trainer.position(), {
        run,
        keep,
        seconds: this.seconds,
      }),
    )
  }

  private get seconds(): number {
    return this.sooner + (performance.now() - this.started) / 1000
  }

  private show({ step, loss, work }: StepReport): void {
    const { steps, progress } = this.options
    this.speed.add(work.units)
    const { perSecond } = this.speed
    const secondsLeft = ((steps - step) * work.units) / perSecond
    progress?.({ step, steps, loss, perSecond, unit: work.unit, secondsLeft })
  }

  /** Learning rate of the coming step, of the first parameter. */
  private rate(): number | undefined {
    const { task, optimiser } = this.options.trainer
    const [path] = task.parameters.tensors().keys()
    return path === undefined ? undefined : optimiser.rate(path)
  }

  private lineOf(report: StepReport, rate: number | undefined) {
    const { step, epoch, loss, gradientNorm, work } = report
    return {
      step,
      epoch,
      loss,
      gradientNorm,
      ...(rate === undefined ? {} : { rate }),
      perSecond: this.speed.perSecond,
      unit: work.unit,
      seconds: this.seconds,
      ...(report.skipped ? { skipped: report.skipped } : {}),
    }
  }
}
