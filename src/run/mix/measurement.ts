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
import { StateDivergence } from '../../metrics/state_divergence.ts'
import { ActivationSet } from '../../models/activations.ts'
import { type Batch, batchesOf, embedBatch, usualBatchTokens } from '../../models/batches.ts'
import type { OpenModel } from '../../models/open_model.ts'
import { runStage, type Stage } from '../../models/stage.ts'
import type { Linear } from '../../nn/linear.ts'
import { denseSource } from '../../nn/weight_source.ts'
import { AbortError, NumericalError, printable } from '../../tensor/errors.ts'
import { concat, dispose, scope, type Tensor } from '../../tensor/index.ts'
import type { RunHooks } from '../evaluate.ts'
import { storedNumbers } from '../matrix_compression.ts'
import { outputEnergy, relativeErrors } from '../relative_errors.ts'
import type { MixChoice } from './mix_space.ts'

/** An error of one weight at one level. */
export type MeasuredLevel = { weight: string; level: string } & (
  | { kl: number; standardError?: number }
  | { relativeError: number; energy: number }
)

export interface MeasurementOptions {
  source: OpenModel
  method: WeightMethod
  how: 'measured' | 'error'
  /** Calibration samples, for the statistics. */
  samples: readonly Uint32Array[]
  /** What the KL is taken on. */
  windows: readonly Uint32Array[]
  /** What is to be measured, by the name of the weight. */
  wanted: ReadonlyMap<string, readonly MixChoice[]>
  /** All of a stage; what is handed over need not be measured again. */
  found(levels: readonly MeasuredLevel[]): void
  hooks: RunHooks
  /** Folder for activations that do not fit in memory. */
  scratch?: string | undefined
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
  private readonly batches: readonly Batch[]
  private readonly needsGram: boolean
  /** The source on the windows: before the stage at hand, and after the last one. */
  private readonly inputs: ActivationSet
  private readonly outputs: ActivationSet
  /** After the stage at hand, one entry for each variant. */
  private readonly variants: ActivationSet
  private pending: { weight: string; level: string }[] = []
  private finished: MeasuredLevel[] = []
  private stage: Stage | undefined
  private readonly grams = new Map<Linear, GramStatistic>()
  /** Passages of a variant through a stage or the head, done and in all. */
  private done = 0
  private readonly total: number

  constructor(options: MeasurementOptions) {
    this.options = options
    this.batches = batchesOf(options.windows)
    this.needsGram = options.how === 'error' || options.method.needs.length > 0
    const place = options.scratch === undefined ? {} : { scratch: options.scratch }
    this.inputs = new ActivationSet(place)
    this.outputs = new ActivationSet(place)
    this.variants = new ActivationSet(place)
    const { stages } = options.source.model
    this.total = stages.reduce(
      (sum, { weights }, index) =>
        sum + this.wantedOf(weights) * (this.measured ? stages.length - index + 1 : 1),
      0,
    )
  }

  private get measured(): boolean {
    return this.options.how === 'measured'
  }

  private wantedOf(weights: readonly string[]): number {
    return weights.reduce((sum, name) => sum + (this.options.wanted.get(name)?.length ?? 0), 0)
  }

  async run(): Promise<void> {
    const { source, samples, windows, hooks, scratch } = this.options
    if (this.measured) await this.runSource()
    await walk({
      model: source.model,
      samples: this.needsGram ? samples : windows,
      groups: 'ordered',
      visitor: this.visitor(),
      between: (next) => this.finishStage(next),
      signal: hooks.signal,
      ...(scratch === undefined ? {} : { scratch }),
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
    for (const plan of model.stages) {
      await this.pause()
      scope(() => this.advance(plan.load(), this.outputs, 'hidden'))
    }
  }

  private visitor(): WalkVisitor {
    return {
      beginStage: (_, stage) => {
        this.stage = stage
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
          const values = statistic?.value() ?? { rows: 0 }
          for (const linear of linears)
            for (const choice of this.options.wanted.get(linear.name) ?? [])
              this.tryLevel(linear, choice, values)
        })
        statistic?.dispose()
        this.grams.delete(linears[0]!)
      },
      endStage: (_, stage) => {
        if (this.measured) this.advance(stage, this.inputs, 'hidden')
        this.stage = undefined
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
      const values = decoded(method, { name, dense, statistics, plan })
      if (!this.measured) {
        const [relativeError] = relativeErrors(dense, [values], statistics) as [number]
        const energy = outputEnergy(dense, statistics.gram!)
        this.finished.push({ weight: name, level, relativeError, energy })
      } else {
        const variant = String(this.pending.length)
        linear.source = denseSource(values)
        try {
          this.advance(this.stage!, this.inputs, 'hidden', this.variants, variant)
        } finally {
          linear.source = before
        }
        this.pending.push({ weight: name, level })
      }
    })
    this.tell(1)
  }

  /** Takes the variants of a stage through all that follow, and hands over what came out. */
  private async finishStage(next: number): Promise<void> {
    if (this.measured && this.pending.length > 0) {
      const { model } = this.options.source
      for (const plan of model.stages.slice(next)) {
        await this.pause()
        scope(() => {
          const stage = plan.load()
          this.advanceVariants(stage)
        })
        this.tell(this.pending.length)
      }
      await this.pause()
      this.compareVariants()
      this.tell(this.pending.length)
      for (const variant of this.pending.keys())
        for (const batch of this.batches.keys()) this.variants.remove(batch, String(variant))
      this.pending = []
    }
    if (this.finished.length > 0) this.options.found(this.finished)
    this.finished = []
  }

  private compareVariants(): void {
    const { model } = this.options.source
    const { vocabulary } = model.config
    const divergence = new StateDivergence({ variants: this.pending.length, vocabulary })
    const head = model.loadHead()
    try {
      for (const batch of this.batches.keys())
        scope(() =>
          divergence.add(head, this.outputs.read(batch, 'hidden'), (variant) =>
            this.variants.read(batch, String(variant)),
          ),
        )
    } finally {
      dispose(head)
    }
    for (const [variant, found] of divergence.results().entries()) {
      const { weight, level } = this.pending[variant]!
      if (!Number.isFinite(found.kl))
        throw new NumericalError(
          `${printable(weight)}: the model gives no finite numbers with this weight at ${level}; leave the level out`,
          { code: 'PARE_E_NOT_FINITE', facts: { tensor: weight, level } },
        )
      this.finished.push({ weight, level, ...found })
    }
  }

  /** Every batch through a stage. */
  private advance(stage: Stage, from: ActivationSet, name: string, into = from, as = name): void {
    const { model } = this.options.source
    for (const [index, { tokens }] of this.batches.entries())
      scope(() => into.write(index, as, runStage(stage, from.read(index, name), model.context(tokens))))
  }

  /** As many variants at a time as make a usual batch, so that weights are read fewer times. */
  private advanceVariants(stage: Stage): void {
    const { model } = this.options.source
    for (const [index, { tokens, count }] of this.batches.entries()) {
      const together = Math.max(1, Math.floor(usualBatchTokens / (tokens * count)))
      for (let first = 0; first < this.pending.length; first += together)
        scope(() => {
          const names = [...this.pending.keys()].slice(first, first + together).map(String)
          const stacked = concat(names.map((name) => this.variants.read(index, name)))
          const after = runStage(stage, stacked, model.context(tokens))
          // A part on the memory of all would keep all of it.
          for (const [i, name] of names.entries())
            this.variants.write(index, name, after.slice(0, i * count, (i + 1) * count).duplicate())
        })
    }
  }

  private async pause(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    if (this.options.hooks.signal?.aborted) throw new AbortError()
  }

  private tell(done: number): void {
    this.done += done
    const [last] = [...this.pending, ...this.finished].slice(-1)
    this.options.hooks.progress?.({
      kind: 'progress',
      phase: 'measure',
      share: this.total === 0 ? 1 : this.done / this.total,
      text: last ? last.weight : '',
    })
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
