/** What is kept of a stage: its weights as the bytes of the target's file, and how near they are to the source. */
import type { LayerEdit } from '../calibrate/method.ts'
import type { StageTuning } from '../calibrate/stage_tuner.ts'
import type { Statistics } from '../calibrate/statistics.ts'
import { describeStored } from '../models/stored/pare_tensors.ts'
import type { EncodedTensor, TargetPlan } from '../models/write/model_writer.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { gridSource } from '../nn/grid.ts'
import { unmasked } from '../nn/values/masked_grid.ts'
import type { StoredSource } from '../nn/values/values.ts'
import type { WeightSource } from '../nn/weight_source.ts'
import { rtn } from '../quantize/rtn.ts'
import { NumericalError } from '../tensor/errors.ts'
import { scope, type Tensor } from '../tensor/index.ts'
import type { StageEntry } from './journal_entries.ts'
import { relativeErrors } from './relative_errors.ts'
import type { LayerReport } from './report.ts'
import { digestOf, roundsValues } from './verify/value_digest.ts'

/** What a stage became. */
export interface FinishedStage {
  index: number
  name: string
  /** Its weights as the target's file has them, with the norms and biases that were trained. */
  tensors: readonly EncodedTensor[]
  layers: readonly LayerReport[]
  /** Present where it was trained as a whole. */
  tuning?: StageEntry['tuning']
  /** What methods remarked, with the weights that it holds for. */
  remarks: readonly { text: string; names: readonly string[] }[]
}

/** Gathers what becomes of one stage after the other. */
export class StageStore {
  private readonly target: TargetPlan
  /** Of the weights. */
  private readonly method: string
  private tensors: EncodedTensor[] = []
  private layers: LayerReport[] = []
  private tuning: FinishedStage['tuning']
  private remarks = new Map<string, string[]>()

  constructor(target: TargetPlan, method: string) {
    this.target = target
    this.method = method
  }

  /** A weight that a method decided. */
  add(
    plan: TensorPlan,
    dense: Tensor,
    statistics: Statistics,
    { source, decoded, diagnostics }: Pick<LayerEdit, 'source' | 'decoded' | 'diagnostics'>,
  ): void {
    const { name, grid, made } = plan
    const encoded = scope(() => this.target.encodeSource(plan, this.forTarget(source)))
    this.tensors.push(...encoded)
    const form = made && describeStored((source as StoredSource).values)
    scope(() => {
      const chosen = decoded ?? source.dense()
      const nearest =
        !grid || this.method === 'rtn'
          ? chosen
          : rtn().compress({ name, dense, current: dense, statistics, grid }).decoded!
      const [error, errorRtn] = relativeErrors(dense, [chosen, nearest], statistics) as [number, number]
      const notes = [...(plan.note ? [plan.note] : []), ...diagnostics.notes]
      for (const text of diagnostics.notes) this.remarks.set(text, [...(this.remarks.get(text) ?? []), name])
      this.layers.push({
        ...this.layerReport(plan, chosen, [error, grid ? errorRtn : undefined], notes, encoded),
        ...(form ? { form } : {}),
      })
    })
  }

  /**
   * A weight that stays numbers.
   *
   * @param kept its bytes in the source, where the target keeps these
   * @returns what a reader finds
   */
  addNumbers(plan: TensorPlan, dense: Tensor, statistics: Statistics, kept: Uint8Array | undefined): Tensor {
    const encoded = kept ? this.target.encodeKept(plan, kept) : this.target.encodeNumbers(plan, dense)
    this.tensors.push(...encoded)
    const stored = storedNumbers(plan, dense)
    const [error] = relativeErrors(dense, [stored], statistics) as [number]
    this.layers.push(this.layerReport(plan, stored, [error, error], plan.note ? [plan.note] : [], encoded))
    return stored
  }

  /**
   * The training of the stage, whose weights are added; norms and biases are put into it as a reader finds them.
   *
   * @throws NumericalError where its outputs were not finite
   */
  addTuning(
    stage: string,
    { losses, kept, floats }: StageTuning,
    plans: ReadonlyMap<string, TensorPlan>,
  ): void {
    if (!losses.every(Number.isFinite))
      throw new NumericalError(
        `${stage}: its outputs are not finite with the weights as they are stored; take more bits, or leave the training out`,
        { code: 'PARE_E_NOT_FINITE', facts: { stage } },
      )
    const stored = floats.map((float) => {
      const plan = plans.get(float.name)!
      const values = storedNumbers(plan, float.get())
      float.set(values)
      this.tensors.push(...this.target.encodeNumbers(plan, values))
      return { name: float.name, values: digestOf(values, { sketch: false }) }
    })
    this.tuning = { losses: [...losses], kept, floats: stored }
  }

  /** Hands over what was gathered. */
  take(): Omit<FinishedStage, 'index' | 'name'> {
    const { tensors, layers, tuning } = this
    const remarks = [...this.remarks].map(([text, names]) => ({ text, names }))
    this.tensors = []
    this.layers = []
    this.tuning = undefined
    this.remarks = new Map()
    return { tensors, layers, ...(tuning ? { tuning } : {}), remarks }
  }

  /** Files without masks have a code for each pruned weight too. */
  private forTarget(source: WeightSource): WeightSource {
    const { values } = source as Partial<StoredSource>
    return values?.kind === 'masked_grid' && this.target.target !== 'pare'
      ? gridSource(unmasked(values))
      : source
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
