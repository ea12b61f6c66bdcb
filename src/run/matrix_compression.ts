/** The matrices of a model, compressed stage by stage. */
import { encoderWalk } from '../calibrate/encoder_walk.ts'
import { InputSquares } from '../calibrate/input_squares.ts'
import type { LayerEdit, LayerMethod } from '../calibrate/method.ts'
import { GramStatistic, type Statistics, squaresOf } from '../calibrate/statistics.ts'
import { type Chains, type WalkVisitor, walk } from '../calibrate/walk.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import { describeStored } from '../models/stored/pare_tensors.ts'
import type { EncodedTensor, TargetPlan } from '../models/write/model_writer.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { gridSource } from '../nn/grid.ts'
import type { Linear } from '../nn/linear.ts'
import { unmasked } from '../nn/values/masked_grid.ts'
import type { StoredSource } from '../nn/values/values.ts'
import { denseSource } from '../nn/weight_source.ts'
import { rtn } from '../quantize/rtn.ts'
import { AbortError } from '../tensor/errors.ts'
import { dispose, scope, type Tensor } from '../tensor/index.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import type { RunHooks } from './evaluate.ts'
import { inputImportance } from './input_importance.ts'
import { relativeErrors } from './relative_errors.ts'
import type { LayerReport } from './report.ts'
import { stepsAsMethod } from './step_sequence.ts'
import { digestOf, roundsValues } from './verify/value_digest.ts'

/** What a stage became. */
export interface FinishedStage {
  index: number
  name: string
  /** Its weights as the target's file has them. */
  tensors: readonly EncodedTensor[]
  layers: readonly LayerReport[]
  /** What methods remarked, with the weights that it holds for. */
  remarks: readonly { text: string; names: readonly string[] }[]
}

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

export class MatrixCompression {
  readonly method: LayerMethod
  private readonly options: ResolvedCompressOptions
  private readonly hooks: RunHooks
  private readonly source: OpenCompressible
  private readonly target: TargetPlan
  private readonly plans: ReadonlyMap<string, TensorPlan>
  private tensors: EncodedTensor[] = []
  private layers: LayerReport[] = []
  private remarks = new Map<string, string[]>()

  constructor(
    options: ResolvedCompressOptions,
    hooks: RunHooks,
    source: OpenCompressible,
    target: TargetPlan,
  ) {
    this.options = options
    this.hooks = hooks
    this.source = source
    this.target = target
    this.plans = new Map(target.tensors.map((plan) => [plan.name, plan]))
    this.method = stepsAsMethod(options.steps, [...this.plans.keys()], {
      importance: inputImportance(source, options.imatrix),
      seed: options.seed,
    })
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
        visitor: this.visitor(statistics),
        scratch: steps.scratch,
        ...(steps.activationBytes === undefined ? {} : { memoryLimit: steps.activationBytes }),
        resume: steps.restore && { stage: from, restore: steps.restore },
        between: (next, chains) => steps.finished(this.finish(next - 1), chains),
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
      for (const statistic of statistics.values()) statistic.dispose?.()
    }
  }

  /** Hands over what was gathered for a stage. */
  private finish(index: number): FinishedStage {
    const { tensors, layers, remarks } = this
    this.tensors = []
    this.layers = []
    this.remarks = new Map()
    const { name } = this.source.model.stages[index]!
    return { index, name, tensors, layers, remarks: [...remarks].map(([text, names]) => ({ text, names })) }
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
          this.exchange(linear, values)
          statistics.delete(linear)
        }
        dispose(gathered)
        statistic.dispose?.()
      },
    }
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
      const encoded = plan.kept
        ? this.target.encodeKept(plan, this.source.weights.raw!(name))
        : this.target.encodeNumbers(plan, dense)
      this.tensors.push(...encoded)
      const stored = storedNumbers(plan, dense)
      const [error] = relativeErrors(dense, [stored], statistics) as [number]
      this.layers.push(this.layerReport(plan, stored, [error, error], plan.note ? [plan.note] : [], encoded))
      return { source: denseSource(stored), decoded: stored, diagnostics: { notes: [] } }
    }
    const { grid, made } = plan
    const edit = scope(() =>
      this.forTarget(this.method.compress({ name, dense, current: dense, statistics, grid })),
    )
    const encoded = this.target.encodeSource(plan, edit.source)
    this.tensors.push(...encoded)
    const form = made && describeStored((edit.source as StoredSource).values)
    scope(() => {
      const chosen = edit.decoded ?? edit.source.dense()
      const nearest =
        !grid || this.method.name === 'rtn'
          ? chosen
          : rtn().compress({ name, dense, current: dense, statistics, grid }).decoded!
      const [error, errorRtn] = relativeErrors(dense, [chosen, nearest], statistics) as [number, number]
      const notes = [...(plan.note ? [plan.note] : []), ...edit.diagnostics.notes]
      for (const text of edit.diagnostics.notes)
        this.remarks.set(text, [...(this.remarks.get(text) ?? []), name])
      this.layers.push({
        ...this.layerReport(plan, chosen, [error, grid ? errorRtn : undefined], notes, encoded),
        ...(form ? { form } : {}),
      })
    })
    return edit
  }

  /** Files without masks have a code for each pruned weight too. */
  private forTarget(edit: LayerEdit): LayerEdit {
    const { values } = edit.source as Partial<StoredSource>
    return values?.kind === 'masked_grid' && this.target.target !== 'pare'
      ? { ...edit, source: gridSource(unmasked(values)) }
      : edit
  }

  private layerReport(
    plan: TensorPlan,
    values: Tensor,
    [relativeError, relativeErrorRtn]: readonly [number, number | undefined],
    notes: readonly string[],
    encoded: readonly EncodedTensor[],
  ): LayerReport {
    const bytes = plan.made ? encoded.reduce((sum, tensor) => sum + tensor.bytes.length, 0) : plan.bytes
    return {
      name: plan.name,
      bits: (bytes * 8) / (plan.shape[0]! * plan.shape[1]!),
      relativeError,
      ...(relativeErrorRtn === undefined ? {} : { relativeErrorRtn }),
      notes,
      values: digestOf(values, { sketch: roundsValues(this.target.target) }),
    }
  }
}

/** What a reader finds of numbers that are stored as they are: half floats lose some of an f32. */
export function storedNumbers({ type, kept }: TensorPlan, dense: Tensor): Tensor {
  if (kept || (type !== 'F16' && type !== 'BF16')) return dense
  return scope(() => dense.cast(type === 'F16' ? 'f16' : 'bf16').cast('f32'))
}
