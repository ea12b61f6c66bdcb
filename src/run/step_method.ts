/** What the table of methods says of each of them. */
import type { LayerMethod, StatisticName } from '../calibrate/method.ts'
import type { ModelTuner, StageTuner } from '../calibrate/stage_tuner.ts'
import type { PareWeight } from '../formats/pare_weight.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import type { TensorEdits } from '../models/tensor_edits.ts'
import type { Grid } from '../nn/grid.ts'
import type { OwnFieldName, OwnOptions } from './own_fields.ts'

/** Options that more than one kind of method reads. */
export type SharedField = 'bits' | 'groupSize' | 'actOrder' | 'staticGroups' | 'damping' | 'onSingular'

/** What is said to a method's factory. */
export type FactoryOptions = OwnOptions & {
  readonly bits?: number
  readonly groupSize?: number | 'row'
  readonly damping?: number
  readonly actOrder?: boolean
  readonly staticGroups?: boolean
  readonly onSingular?: 'throw' | 'round'
  readonly seed?: number
}

interface Method {
  /** One line for help and docs. */
  readonly summary: string
  readonly needs: readonly StatisticName[]
  /** Options that it reads, by name, with the default as text. */
  readonly options: Readonly<Partial<Record<OwnFieldName | SharedField, string>>>
  /** What shared options may be, where that is not what a grid takes. */
  readonly ranges?: Readonly<Partial<Record<SharedField, string>>>
  make(options: FactoryOptions): LayerMethod
  /** Trains every stage once its weights are decided. */
  readonly training?: Training<StageTuner>
  /** Trains the whole model once all weights are decided. */
  readonly modelTraining?: Training<ModelTuner>
}

/** A method that has one needs a statistic, so that there is text. */
export interface Training<Tuner> {
  /** Options that it reads; the first counts the passes, of which 0 leaves it out. */
  readonly options: readonly [OwnFieldName, ...OwnFieldName[]]
  /** Norms and biases are trained too. */
  readonly floats: boolean
  /** Nothing for 0 passes. */
  tuner(options: FactoryOptions): Tuner | undefined
}

/** Rounds to the grid that the step has: any target with such grids can hold it. */
export interface Quantizer extends Method {
  readonly kind: 'quantizer'
  /** Rounds to block types of GGUF too. */
  readonly blocks: boolean
  /** Looks at `search` of its grid; one that does not has ranges of its own. */
  readonly searches: boolean
}

/** Sets weights to 0. */
export interface Pruner extends Method {
  readonly kind: 'pruner'
  /** Rounds what is left to the grid of the step in the same sweep, where it has one. */
  readonly joint: boolean
  /** Weights that are left of a matrix. */
  kept(shape: readonly [number, number], options: OwnOptions): number
}

/** Stores a weight in a form of its own. */
export interface Coder extends Method {
  readonly kind: 'coder'
  /** The form; where data decides its size, about so large. */
  form(shape: readonly [number, number], options: FactoryOptions): PareWeight
}

/** Adds to what earlier steps stored. */
export interface Repair extends Method {
  readonly kind: 'repair'
  form(shape: readonly [number, number], options: FactoryOptions, before: PareWeight): PareWeight
}

/** What compresses weights, one at a time. */
export type WeightStepMethod = Quantizer | Pruner | Coder | Repair

/** What is said to a transform. */
export interface TransformOptions extends OwnOptions {
  readonly seed: number
  /** What the steps behind it round a weight to; nothing where it is stored otherwise. */
  gridOf(name: string): Grid | undefined
}

/** What a transform may use while it works. */
export interface TransformHooks {
  readonly signal?: AbortSignal | undefined
  /** Share that is done, 0 to 1, with one line for people. */
  progress(share: number, text: string): void
  /** For the report. */
  note(text: string): void
  /** Folder for activations that do not fit in memory. */
  readonly scratch: string
  /** Bytes of activations that stay in memory. */
  readonly activationBytes: number
}

/** Rewrites a model without changing what it computes, before any weight is compressed. */
export interface Transform {
  readonly kind: 'transform'
  /** One line for help and docs. */
  readonly summary: string
  /** `samples` where it looks at calibration texts. */
  readonly needs: readonly 'samples'[]
  /** Looks at the grid that a step behind it rounds to. */
  readonly forGrid: boolean
  /** Options that it reads, by name, with the default as text. */
  readonly options: Readonly<Partial<Record<OwnFieldName, string>>>
  /**
   * Tensors that it changes, told without reading any weight; a head that is the embedding among them gets a tensor of
   * its own.
   *
   * @throws OptionError for a model that it cannot rewrite.
   */
  names(source: OpenCompressible, options: OwnOptions): readonly string[]
  /** What it does to them. @param samples token ids, where it is calibrated */
  edits(
    source: OpenCompressible,
    samples: readonly Uint32Array[] | undefined,
    options: TransformOptions,
    hooks: TransformHooks,
  ): Promise<TensorEdits>
}

export type StepMethod = WeightStepMethod | Transform
