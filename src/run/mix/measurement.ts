/**
 * What each level does to each matrix of a model, alone: all other weights are those of the source.
 *
 *   measured   the matrix is replaced by what the method makes of it, and the KL to the source is taken on some windows.
 *              All variants of a stage (its matrices at their levels) run side by side through the stages behind it, so
 *              that each of these is loaded once for a stage and not once for a variant.
 *   error      the output that the matrix loses on the calibration inputs; nothing behind it runs.
 *
 * Methods see the inputs of the source. One stage of weights and one variant are in memory at a time; hidden states spill
 * to disk.
 */
import type { WeightMethod } from '../../calibrate/method.ts'
import { GramStatistic, type Statistics } from '../../calibrate/statistics.ts'
import { type WalkVisitor, walk } from '../../calibrate/walk.ts'
import { type EvaluationSplit, usualSplit } from '../../metrics/language.ts'
import { ActivationSet } from '../../models/activations.ts'
import { batchesOf, embedBatch, type SequenceBatch } from '../../models/batches.ts'
import type { OpenLanguageModel } from '../../models/open_model.ts'
import { runStage, type Stage } from '../../models/stage.ts'
import type { Linear } from '../../nn/linear.ts'
import { denseSource } from '../../nn/weight_source.ts'
import { AbortError } from '../../tensor/errors.ts'
import { scope, type Tensor, trimPool } from '../../tensor/index.ts'
import type { RunHooks } from '../evaluate.ts'
import { outputEnergy, relativeErrors } from '../relative_errors.ts'
import { storedNumbers } from '../stage_store.ts'
import { MeasurementShare } from './measurement_share.ts'
import { needsStatistics, type WantedLevels } from './measurement_task.ts'
import type { MixChoice } from './mix_space.ts'
import { type VariantDivergence, Variants } from './variants.ts'

/** An error of one weight at one level. */
export type MeasuredLevel =
  | VariantDivergence
  | { weight: string; level: string; relativeError: number; energy: number }

export interface MeasurementOptions {
  source: OpenLanguageModel
  method: WeightMethod
  how: 'measured' | 'error'
  /** Calibration samples, for the statistics. */
  samples: readonly Uint32Array[]
  /** What the KL is taken on. */
  windows: readonly Uint32Array[]
  /** What is to be measured, by the name of the weight. */
  wanted: WantedLevels
  /** All of a stage; what is handed over need not be measured again. */
  found(levels: readonly MeasuredLevel[]): void
  hooks: RunHooks
  /** Folder for activations that do not fit in memory. */
  scratch?: string | undefined
  /** Pieces of the work: smaller ones take less memory, and measure the same. @default usualSplit */
  split?: EvaluationSplit
}

export async function measureLevels(options: MeasurementOptions): Promise<void> {
  const measurement = new Measurement(options)
  try {
    await measurement.run()
  } finally {
    measurement.close()
  }
}

class Measurement {
  private readonly options: MeasurementOptions
  private readonly split: EvaluationSplit
  private readonly batches: readonly SequenceBatch[]
  private readonly needsGram: boolean
  /** The source on the windows: before the stage at hand, and after the last one. */
  private readonly inputs: ActivationSet
  private readonly outputs: ActivationSet
  private readonly variants: Variants
  private finished: MeasuredLevel[] = []
  private stage: Stage | undefined
  private index = 0
  private readonly grams = new Map<Linear, GramStatistic>()
  private readonly share: MeasurementShare

  constructor(options: MeasurementOptions) {
    this.options = options
    this.split = options.split ?? usualSplit
    this.batches = batchesOf(options.windows, this.split.batchTokens)
    this.needsGram = needsStatistics(options.how, options.method.needs)
    const place = { memoryLimit: this.split.stateBytes, ...this.scratch }
    this.inputs = new ActivationSet(place)
    this.outputs = new ActivationSet(place)
    this.variants = new Variants(options.source, this.batches, this.split, place)
    this.share = new MeasurementShare(options, this.needsGram)
  }

  private get scratch(): { scratch?: string } {
    const { scratch } = this.options
    return scratch === undefined ? {} : { scratch }
  }

  private get measured(): boolean {
    return this.options.how === 'measured'
  }

  private wantedOf(weights: readonly string[]): number {
    return weights.reduce((sum, name) => sum + (this.options.wanted.get(name)?.length ?? 0), 0)
  }

  async run(): Promise<void> {
    const { source, samples, windows, hooks } = this.options
    if (this.measured) await this.runSource()
    await walk({
      model: source.model,
      samples: this.needsGram ? samples : windows,
      groups: 'ordered',
      visitor: this.visitor(),
      between: (next) => this.finishStage(next),
      signal: hooks.signal,
      memoryLimit: this.split.stateBytes,
      // What the Gram matrix sums at a time shows in it.
      ...(this.needsGram ? {} : { batchTokens: this.split.batchTokens }),
      ...this.scratch,
    })
  }

  close(): void {
    for (const statistic of this.grams.values()) statistic.dispose()
    for (const set of [this.inputs, this.outputs, this.variants]) set.close()
  }

  /** The hidden states that variants are compared with, and those that the first stage begins with. */
  private async runSource(): Promise<void> {
    const { model } = this.options.source
    for (const [index, batch] of this.batches.entries())
      scope(() => {
        const hidden = embedBatch(model, batch)
        this.inputs.write(index, 'hidden', hidden)
        this.outputs.write(index, 'hidden', hidden)
      })
    for (const [index, plan] of model.stages.entries()) {
      await this.pause()
      scope(() => this.advance(plan.load(), this.outputs))
      this.tell(this.share.passage(index), plan.name)
    }
  }

  private visitor(): WalkVisitor {
    return {
      beginStage: (plan, stage) => {
        this.stage = stage
        this.index = this.options.source.model.stages.indexOf(plan)
      },
      observe: (linears, x) => {
        if (!this.needsGram || this.wantedOf(linears.map(({ name }) => name)) === 0) return
        const [first] = linears
        let statistic = this.grams.get(first!)
        if (!statistic) {
          statistic = new GramStatistic(first!.name, x.extent(-1))
          this.grams.set(first!, statistic)
        }
        statistic.add(x)
      },
      compress: (linears) => {
        const statistic = this.grams.get(linears[0]!)
        scope(() => {
          const values = statistic?.current() ?? { rows: 0 }
          for (const linear of linears)
            for (const choice of this.options.wanted.get(linear.name) ?? [])
              this.tryLevel(linear, choice, values)
        })
        statistic?.dispose()
        this.grams.delete(linears[0]!)
      },
      endStage: (plan, stage) => {
        if (this.measured) this.advance(stage, this.inputs)
        this.stage = undefined
        this.tell(this.share.walked(this.index), plan.name)
      },
    }
  }

  /** One variant: its error, or what it puts out. The linear is as it was when this returns. */
  private tryLevel(linear: Linear, { plan, level }: MixChoice, statistics: Statistics): void {
    const { method, hooks } = this.options
    if (hooks.signal?.aborted) throw new AbortError()
    const { name } = linear
    scope(() => {
      const before = linear.source
      const dense = before.dense()
      const values = scope(() => decoded(method, { name, dense, statistics, plan }))
      if (!this.measured) {
        const [relativeError] = relativeErrors(dense, [values], statistics) as [number]
        const energy = outputEnergy(dense, statistics.gram!)
        this.finished.push({ weight: name, level, relativeError, energy })
      } else {
        linear.source = denseSource(values)
        try {
          this.variants.add({ weight: name, level }, this.stage!, this.inputs)
        } finally {
          linear.source = before
        }
      }
    })
    this.tell(this.share.tried(this.index, name), name)
  }

  /** Takes the variants of a stage through all that follow, and hands over what came out. */
  private async finishStage(next: number): Promise<void> {
    const variants = this.variants.pending
    if (variants.length > 0) {
      const { stages } = this.options.source.model
      const { weight } = variants.at(-1)!
      // Neither needs blocks of the sizes that were used before.
      trimPool()
      for (const [i, plan] of stages.slice(next).entries()) {
        await this.pause()
        scope(() => this.variants.advance(plan.load()))
        this.tell(variants.length * this.share.passage(next + i), weight)
      }
      await this.pause()
      trimPool()
      this.finished.push(...this.variants.compare(this.outputs))
      trimPool()
      this.tell(this.share.compared(variants.length), weight)
    }
    if (this.finished.length > 0) this.options.found(this.finished)
    this.finished = []
  }

  /** The source through a stage. */
  private advance(stage: Stage, states: ActivationSet): void {
    const { model } = this.options.source
    for (const [index, { tokens }] of this.batches.entries())
      scope(() => {
        const before = states.read(index, 'hidden')
        states.write(index, 'hidden', runStage(stage, before, model.context(tokens)))
      })
  }

  private async pause(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    if (this.options.hooks.signal?.aborted) throw new AbortError()
  }

  private tell(done: number, text: string): void {
    const share = this.share.add(done)
    this.options.hooks.progress?.({ kind: 'progress', phase: 'measure', share, text })
  }
}

/** What a reader finds of a weight that a method made at a level. */
function decoded(
  method: WeightMethod,
  {
    name,
    dense,
    statistics,
    plan,
  }: { name: string; dense: Tensor; statistics: Statistics; plan: MixChoice['plan'] },
): Tensor {
  if (!plan.grid) return storedNumbers(plan, dense)
  const edit = method.compress({ name, dense, current: dense, statistics, grid: plan.grid })
  return edit.decoded ?? edit.source.dense()
}
