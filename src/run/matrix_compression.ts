/** The matrices of a model, compressed stage by stage. */
import { encoderWalk } from '../calibrate/encoder_walk.ts'
import { InputSquares } from '../calibrate/input_squares.ts'
import type { LayerEdit, LayerMethod } from '../calibrate/method.ts'
import type { StageTuner } from '../calibrate/stage_tuner.ts'
import { GramStatistic, type Statistics, squaresOf } from '../calibrate/statistics.ts'
import { type Chains, type StageSamples, type WalkVisitor, walk } from '../calibrate/walk.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import type { Stage } from '../models/stage.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import type { Linear } from '../nn/linear.ts'
import { denseSource } from '../nn/weight_source.ts'
import { AbortError } from '../tensor/errors.ts'
import { dispose, scope, type Tensor } from '../tensor/index.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import type { RunHooks } from './evaluate.ts'
import { inputImportance } from './input_importance.ts'
import { type FinishedStage, StageStore } from './stage_store.ts'
import { stepsAsMethod } from './step_sequence.ts'
import { tunerOf } from './step_tuning.ts'

/** What methods remarked on all stages, one line for all weights that it holds for. */
export function remarkLines(stages: readonly Pick<FinishedStage, 'remarks'>[]): string[] {
  /** By their words: numbers differ from weight to weight. */
  const kinds = new Map<string, { texts: Set<string>; names: string[] }>()
  for (const { text, names } of stages.flatMap(({ remarks }) => remarks)) {
    const kind = text.replace(/\d+(?:\.\d+)?/g, '#')
    const known = kinds.get(kind) ?? { texts: new Set(), names: [] }
    kinds.set(kind, { texts: known.texts.add(text), names: [...known.names, ...names] })
  }
  return [...kinds.values()].map(({ texts: [first, ...others], names }) =>
    names.length === 1
      ? `${names[0]}: ${first}`
      : `${names.length} weights: ${first}${others.length === 0 ? '' : ', and alike; report.json has each'}`,
  )
}

export type { FinishedStage } from './stage_store.ts'

export interface CompressionSteps {
  /** Stages that were finished earlier. */
  from?: number
  /** Fills the chains before the stage `from`. */
  restore?(chains: Chains): void
  /** A stage is finished; where the method is calibrated, the chains hold the inputs of the next one. */
  finished(stage: FinishedStage, chains: Chains | undefined): void
  /** Folder for activations that do not fit in memory. */
  scratch: string
  /** Bytes of activations that stay in memory. @default usualMemoryLimit */
  activationBytes?: number
}

type InputStatistic = Pick<GramStatistic, 'add' | 'current'> & { dispose?(): void }

/** Of the time of a stage that is trained, about. */
const trainingShare = 0.9

/** A weight that is decided and not yet stored, as its stage is still to be trained. */
interface Waiting {
  linear: Linear
  dense: Tensor
  statistics: Statistics
  diagnostics: LayerEdit['diagnostics']
}

export class MatrixCompression {
  readonly method: LayerMethod
  private readonly options: ResolvedCompressOptions
  private readonly hooks: RunHooks
  private readonly source: OpenCompressible
  private readonly plans: ReadonlyMap<string, TensorPlan>
  private readonly tuner: StageTuner | undefined
  private waiting: Waiting[] = []
  /** Share of the work. */
  private reached = 0
  /** Frees the statistics of the weights that wait. */
  private inUse: (() => void)[] = []
  private readonly store: StageStore

  constructor(
    options: ResolvedCompressOptions,
    hooks: RunHooks,
    source: OpenCompressible,
    target: TargetPlan,
  ) {
    this.options = options
    this.hooks = hooks
    this.source = source
    this.plans = new Map(target.tensors.map((plan) => [plan.name, plan]))
    this.method = stepsAsMethod(options.steps, [...this.plans.keys()], {
      importance: inputImportance(source, options.imatrix),
      seed: options.seed,
    })
    this.store = new StageStore(target, this.method.name)
    this.tuner = tunerOf(
      options.steps,
      source.model.stages.flatMap(({ weights }) => weights),
      options.seed,
    )
  }

  /** Compresses every matrix, from the stage `from` on. */
  async run(samples: readonly Uint32Array[] | undefined, steps: CompressionSteps): Promise<void> {
    const { stages } = this.source.model
    const { progress, signal } = this.hooks
    const { from = 0 } = steps
    if (!samples) {
      for (const [index, plan] of stages.entries()) {
        if (index < from) continue
        await new Promise((done) => setImmediate(done))
        if (signal?.aborted) throw new AbortError()
        progress?.({ kind: 'progress', phase: 'compress', share: index / stages.length, text: plan.name })
        for (const name of plan.weights)
          scope(() => {
            this.compressOne(name, this.source.weights.load(name), { rows: 0 })
          })
        steps.finished(this.finish(index), undefined)
      }
      return
    }
    const statistics = new Map<Linear, InputStatistic>()
    try {
      await walk({
        model: this.source.family === 'bert' ? encoderWalk(this.source.model) : this.source.model,
        samples,
        groups: this.options.trueSequential ? 'ordered' : 'stage',
        target: this.tuner?.target ?? 'none',
        visitor: this.visitor(statistics),
        scratch: steps.scratch,
        ...(steps.activationBytes === undefined ? {} : { memoryLimit: steps.activationBytes }),
        resume: steps.restore && { stage: from, restore: steps.restore },
        between: (next, chains) => steps.finished(this.finish(next - 1), chains),
        signal,
        progress: (stage, share) => {
          const parts = this.options.trueSequential ? 5 : 2
          const rest = this.tuner ? 1 - trainingShare : 1
          this.show(stage, rest * Math.min(1, share / parts), stages[stage]!.name)
        },
      })
    } finally {
      for (const statistic of statistics.values()) statistic.dispose?.()
      for (const free of this.inUse.splice(0)) free()
    }
  }

  /** Of the share of a stage; what follows its training does not go back. */
  private show(stage: number, share: number, text: string): void {
    this.reached = Math.max(this.reached, (stage + share) / this.source.model.stages.length)
    this.hooks.progress?.({ kind: 'progress', phase: 'compress', share: this.reached, text })
  }

  /** Hands over what was gathered for a stage. */
  private finish(index: number): FinishedStage {
    return { index, name: this.source.model.stages[index]!.name, ...this.store.take() }
  }

  private visitor(statistics: Map<Linear, InputStatistic>): WalkVisitor {
    const { needs } = this.method
    return {
      observe(linears, x) {
        const [first] = linears
        let statistic = statistics.get(first!)
        if (!statistic) {
          const inputs = x.extent(-1)
          statistic = needs.includes('gram')
            ? new GramStatistic(first!.name, inputs)
            : new InputSquares(inputs)
          for (const linear of linears) statistics.set(linear, statistic)
        }
        statistic.add(x)
      },
      compress: (linears) => {
        const statistic = statistics.get(linears[0]!)!
        const gathered = statistic.current()
        const { gram } = gathered
        const values =
          gram && needs.includes('squares') ? { ...gathered, squares: squaresOf(gram) } : gathered
        for (const linear of linears) {
          if (this.tuner) this.decide(linear, values)
          else this.exchange(linear, values)
          statistics.delete(linear)
        }
        const free = () => {
          dispose(gathered)
          statistic.dispose?.()
        }
        // The errors of weights that wait are measured on it.
        if (this.tuner) this.inUse.push(free)
        else free()
      },
      ...(this.tuner ? { tune: (stage, samples) => this.train(stage, samples, this.tuner!) } : {}),
    }
  }

  /** Puts the weight in the form in which it is stored in the place of the dense one, which is kept until it is trained. */
  private decide(linear: Linear, statistics: Statistics): void {
    const plan = this.plans.get(linear.name)!
    if (!plan.grid && !plan.made) {
      this.exchange(linear, statistics)
      return
    }
    const dense = linear.source.dense()
    const { source, diagnostics } = scope(() => {
      const { source, diagnostics } = this.compressed(plan, dense, statistics)
      return { source, diagnostics }
    })
    linear.source = source
    this.waiting.push({ linear, dense, statistics, diagnostics })
  }

  /** Trains a stage, and stores what became of it. */
  private train(stage: Stage, samples: StageSamples, tuner: StageTuner): void {
    const { waiting, hooks } = this
    this.waiting = []
    const [first] = stage.segments[0]!.linears
    const { stages } = this.source.model
    const index = stages.findIndex(({ weights }) => weights.includes(first!.name))
    const { name } = stages[index]!
    const found = tuner.tune(stage, samples, {
      signal: hooks.signal,
      progress: (share) =>
        this.show(index, 1 - trainingShare + trainingShare * share, `${name} ${tuner.name}`),
    })
    for (const { linear, dense, statistics, diagnostics } of waiting) {
      const decoded = scope(() => {
        const edit = { source: linear.source, diagnostics }
        this.store.add(this.plans.get(linear.name)!, dense, statistics, edit)
        return linear.source.dense()
      })
      linear.source = denseSource(decoded)
      dense.dispose()
    }
    for (const free of this.inUse.splice(0)) free()
    if (found) this.store.addTuning(name, found, this.plans)
  }

  /** Puts the compressed weight in the place of the dense one, of which nothing is left. */
  private exchange(linear: Linear, statistics: Statistics): void {
    const dense = linear.source.dense()
    // Forwards take the decided values as they are; the codes are in the file already.
    const decoded = scope(() => {
      const edit = this.compressOne(linear.name, dense, statistics)
      return edit.decoded ?? edit.source.dense()
    })
    linear.source = denseSource(decoded)
    if (decoded !== dense) dense.dispose()
  }

  private compressOne(name: string, dense: Tensor, statistics: Statistics): LayerEdit {
    if (this.hooks.signal?.aborted) throw new AbortError()
    const plan = this.plans.get(name)!
    if (!plan.grid && !plan.made) {
      const kept = plan.kept ? this.source.weights.raw!(name) : undefined
      const stored = this.store.addNumbers(plan, dense, statistics, kept)
      return { source: denseSource(stored), decoded: stored, diagnostics: { notes: [] } }
    }
    const edit = this.compressed(plan, dense, statistics)
    this.store.add(plan, dense, statistics, edit)
    return edit
  }

  private compressed({ name, grid }: TensorPlan, dense: Tensor, statistics: Statistics): LayerEdit {
    return scope(() => this.method.compress({ name, dense, current: dense, statistics, grid }))
  }
}
