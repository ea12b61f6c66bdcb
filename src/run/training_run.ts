/**
 * A training with a folder of its own, which goes on where it was stopped:
 *
 *   .pare/lock           held by the process that works
 *   .pare/checkpoints/   the latest states, each whole
 *   log.jsonl            what happened, a line for each entry
 */
import { join, resolve } from 'node:path'
import { disk } from '../formats/disk.ts'
import type { TrainingBatch } from '../optim/training_task.ts'
import { AbortError, OptionError, StateError } from '../tensor/errors.ts'
import { dispose, scope } from '../tensor/index.ts'
import type { StepReport, Trainer } from '../train/trainer.ts'
import { checkpointsIn, readCheckpoint, removeUnfinished, writeCheckpoint } from '../train/training_file.ts'
import { workName } from './journal.ts'
import { lockWork, unlockWork } from './run_lock.ts'
import { TrainingLog } from './training_log.ts'

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
  progress?: (event: TrainingProgress) => void
}

export interface TrainingProgress {
  readonly step: number
  readonly steps: number
  readonly loss: number
  /** Units of work a second. */
  readonly perSecond: number
  readonly unit: string
  readonly secondsLeft: number
}

export interface TrainingSummary {
  readonly steps: number
  readonly epoch: number
  /** Of the last step that learned. */
  readonly loss: number | undefined
  /** Steps that were left out, in this sitting. */
  readonly skipped: number
  readonly evaluation: Readonly<Record<string, number>> | undefined
  /** Where an earlier sitting had stopped. */
  readonly resumedAt: number | undefined
}

/**
 * Trains to the end, or until `signal` stops it: then the same call goes on later, to the same bits.
 *
 * @throws StateError where the folder holds a checkpoint of another run, or another process works on it; NumericalError
 * where a loss is not finite (the last good checkpoint stays); ResourceError where the disk is full; AbortError.
 */
export async function runTraining<B extends TrainingBatch>(
  options: TrainingRunOptions<B>,
): Promise<TrainingSummary> {
  const { steps, checkpointEvery = 100, evaluateEvery, logEvery = 10, keep = 2 } = options
  for (const [name, value] of Object.entries({ steps, checkpointEvery, logEvery, keep, evaluateEvery }))
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1))
      throw new OptionError(`${name}: needs a whole number from 1 on, got ${value}`)
  const output = resolve(options.output)
  const lock = lockWork(output)
  try {
    return await new TrainingRun({ ...options, output, checkpointEvery, logEvery, keep }).run()
  } finally {
    unlockWork(lock)
  }
}

type Settled<B extends TrainingBatch> = TrainingRunOptions<B> &
  Required<Pick<TrainingRunOptions<B>, 'checkpointEvery' | 'logEvery' | 'keep'>>

class TrainingRun<B extends TrainingBatch> {
  private readonly options: Settled<B>
  private readonly checkpoints: string
  private readonly started = performance.now()
  /** Seconds of the sittings before this one. */
  private sooner = 0
  private work = 0
  private workSince = performance.now()

  constructor(options: Settled<B>) {
    this.options = options
    this.checkpoints = join(options.output, workName, 'checkpoints')
  }

  async run(): Promise<TrainingSummary> {
    const { trainer, steps, output, checkpointEvery, evaluateEvery, logEvery, signal } = this.options
    const resumedAt = this.resume()
    const log = new TrainingLog(join(output, 'log.jsonl'), trainer.steps)
    let [last, skipped]: [StepReport | undefined, number] = [undefined, 0]
    let evaluation: TrainingSummary['evaluation']
    const evaluate = () => {
      evaluation = scope(() => trainer.task.evaluate?.())
      if (evaluation)
        log.append({ step: trainer.steps, epoch: trainer.epoch, seconds: this.seconds, evaluation })
    }
    try {
      while (trainer.steps < steps) {
        // Signals are heard between steps.
        await new Promise((done) => setImmediate(done))
        if (signal?.aborted) {
          this.save()
          throw new AbortError()
        }
        const report = trainer.next()
        if (!report) break
        this.work += report.work.units
        if (report.skipped) skipped++
        else last = report
        const { step } = report
        const ends = step === steps
        if (report.skipped || ends || step % logEvery === 0) log.append(this.lineOf(report))
        if (evaluateEvery !== undefined && !ends && step % evaluateEvery === 0) evaluate()
        if (!ends && step % checkpointEvery === 0) this.save()
      }
      trainer.finish()
      evaluate()
      this.save()
      return { steps: trainer.steps, epoch: trainer.epoch, loss: last?.loss, skipped, evaluation, resumedAt }
    } finally {
      log.close()
    }
  }

  /** Steps that a checkpoint has, where there is one. */
  private resume(): number | undefined {
    const { trainer, restart, run } = this.options
    if (restart) disk().remove(this.checkpoints)
    removeUnfinished(this.checkpoints)
    const path = checkpointsIn(this.checkpoints).at(-1)
    if (path === undefined) return undefined
    const { tensors, position, seconds } = readCheckpoint(path, run)
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

  private lineOf(report: StepReport) {
    const { trainer, steps, progress } = this.options
    const { step, epoch, loss, gradientNorm, work } = report
    const now = performance.now()
    const perSecond = (1000 * this.work) / Math.max(1e-6, now - this.workSince)
    ;[this.work, this.workSince] = [0, now]
    const [path] = trainer.task.parameters.tensors().keys()
    const rate = path === undefined ? undefined : trainer.optimiser.rate(path)
    progress?.({
      step,
      steps,
      loss,
      perSecond,
      unit: work.unit,
      secondsLeft: ((steps - step) * work.units) / perSecond,
    })
    return {
      step,
      epoch,
      loss,
      gradientNorm,
      ...(rate === undefined ? {} : { rate }),
      perSecond,
      unit: work.unit,
      seconds: this.seconds,
      ...(report.skipped ? { skipped: report.skipped } : {}),
    }
  }
}
