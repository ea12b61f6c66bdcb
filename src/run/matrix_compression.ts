/** The matrices of a model, compressed and written stage by stage. */
import { dirname } from 'node:path'
import type { LayerEdit, WeightMethod } from '../calibrate/method.ts'
import { GramStatistic, type Statistics } from '../calibrate/statistics.ts'
import { type WalkVisitor, walk } from '../calibrate/walk.ts'
import type { OpenModel } from '../models/open_model.ts'
import type { ModelWriter, TargetPlan } from '../models/write/model_writer.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import type { Linear } from '../nn/linear.ts'
import { denseSource } from '../nn/weight_source.ts'
import { rtn } from '../quantize/rtn.ts'
import { AbortError } from '../tensor/errors.ts'
import { scope, type Tensor } from '../tensor/index.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import type { RunHooks } from './evaluate.ts'
import { relativeErrors } from './relative_errors.ts'
import type { LayerReport } from './report.ts'
import { stepsAsMethod } from './step_sequence.ts'

export class MatrixCompression {
  readonly method: WeightMethod
  readonly layers: LayerReport[] = []
  private readonly options: ResolvedCompressOptions
  private readonly hooks: RunHooks
  private readonly source: OpenModel
  private readonly plans: ReadonlyMap<string, TensorPlan>
  /** What methods remarked, with the weights that it holds for. */
  private readonly remarks = new Map<string, string[]>()

  constructor(options: ResolvedCompressOptions, hooks: RunHooks, source: OpenModel, target: TargetPlan) {
    this.options = options
    this.hooks = hooks
    this.source = source
    this.plans = new Map(target.tensors.map((plan) => [plan.name, plan]))
    this.method = stepsAsMethod(options.steps, [...this.plans.keys()])
  }

  /** What methods remarked, one line for all weights that it holds for. */
  *notes(): Iterable<string> {
    for (const [text, names] of this.remarks)
      yield names.length === 1 ? `${names[0]}: ${text}` : `${names.length} weights: ${text}`
  }

  /** Compresses and writes every matrix; samples that do not fit in memory go beside the folder `work`. */
  async write(writer: ModelWriter, samples: Uint32Array[] | undefined, work: string): Promise<void> {
    const { stages } = this.source.model
    const { progress, signal } = this.hooks
    if (!samples) {
      for (const [index, plan] of stages.entries()) {
        await new Promise((done) => setImmediate(done))
        if (signal?.aborted) throw new AbortError()
        progress?.({ kind: 'progress', phase: 'compress', share: index / stages.length, text: plan.name })
        for (const name of plan.weights) {
          scope(() => {
            const dense = this.source.weights.load(name)
            this.compressOne(writer, name, dense, { rows: 0 })
          })
        }
      }
      return
    }
    const statistics = new Map<Linear, GramStatistic>()
    try {
      await walk({
        model: this.source.model,
        samples,
        groups: this.options.trueSequential ? 'ordered' : 'stage',
        visitor: this.visitor(writer, statistics),
        scratch: this.options.scratch ?? dirname(work),
        signal,
        progress: (stage, share) => {
          const parts = this.options.trueSequential ? 5 : 2
          progress?.({
            kind: 'progress',
            phase: 'compress',
            share: (stage + Math.min(1, share / parts)) / stages.length,
            text: stages[stage]!.name,
          })
        },
      })
    } finally {
      for (const statistic of statistics.values()) statistic.dispose()
    }
  }

  private visitor(writer: ModelWriter, statistics: Map<Linear, GramStatistic>): WalkVisitor {
    return {
      observe(linears, x) {
        const [first] = linears
        let statistic = statistics.get(first!)
        if (!statistic) {
          statistic = new GramStatistic(first!.name, x.extent(-1))
          for (const linear of linears) statistics.set(linear, statistic)
        }
        statistic.add(x)
      },
      compress: (linears) => {
        const gram = statistics.get(linears[0]!)!
        const values = gram.value()
        for (const linear of linears) {
          const before = linear.source
          const edit = this.compressOne(writer, linear.name, before.dense(), values)
          // Forwards take the decided values as they are; the codes are in the file already.
          linear.source = edit.decoded ? denseSource(edit.decoded) : edit.source
          statistics.delete(linear)
        }
        gram.dispose()
      },
    }
  }

  private compressOne(writer: ModelWriter, name: string, dense: Tensor, statistics: Statistics): LayerEdit {
    if (this.hooks.signal?.aborted) throw new AbortError()
    const plan = this.plans.get(name)!
    if (!plan.grid) {
      if (plan.kept) writer.addKept(plan, this.source.weights.raw!(name))
      else writer.addNumbers(plan, dense)
      const stored = storedNumbers(plan, dense)
      const [error] = relativeErrors(dense, [stored], statistics) as [number]
      this.layers.push(this.layerReport(plan, error, error, plan.note ? [plan.note] : []))
      return { source: denseSource(stored), decoded: stored, diagnostics: { notes: [] } }
    }
    const edit = this.method.compress({ name, dense, current: dense, statistics, grid: plan.grid })
    writer.addSource(plan, edit.source)
    scope(() => {
      const chosen = edit.decoded ?? edit.source.dense()
      const nearest =
        this.method.name === 'rtn'
          ? chosen
          : rtn().compress({ name, dense, current: dense, statistics, grid: plan.grid! }).decoded!
      const [error, errorRtn] = relativeErrors(dense, [chosen, nearest], statistics) as [number, number]
      const notes = [...(plan.note ? [plan.note] : []), ...edit.diagnostics.notes]
      for (const text of edit.diagnostics.notes)
        this.remarks.set(text, [...(this.remarks.get(text) ?? []), name])
      this.layers.push(this.layerReport(plan, error, errorRtn, notes))
    })
    return edit
  }

  private layerReport(
    plan: TensorPlan,
    relativeError: number,
    relativeErrorRtn: number,
    notes: readonly string[],
  ): LayerReport {
    const bits = (plan.bytes * 8) / (plan.shape[0]! * plan.shape[1]!)
    return { name: plan.name, bits, relativeError, relativeErrorRtn, notes }
  }
}

/** What a reader finds of numbers that are stored as they are: half floats lose some of an f32. */
function storedNumbers({ type, kept }: TensorPlan, dense: Tensor): Tensor {
  if (kept || (type !== 'F16' && type !== 'BF16')) return dense
  return scope(() => dense.cast(type === 'F16' ? 'f16' : 'bf16').cast('f32'))
}
