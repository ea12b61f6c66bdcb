/** What is trained: a model with its loss, and the batches that it learns from. */
import type { Parameters } from '../nn/parameters.ts'
import type { Sites } from '../nn/sites.ts'
import type { WeightSource } from '../nn/weight_source.ts'
import type { RandomStream, Tensor } from '../tensor/index.ts'

/** Samples that a step learns from. */
export interface TrainingBatch {
  /** Of each sample: the same sample has the same id in every epoch and every run. */
  readonly ids: Uint32Array
}

/** Batches in an order of their own. */
export interface Loader<B> {
  /** The next batch; undefined where the data has ended. */
  next(): B | undefined
  /** Passes over the data that are finished. */
  readonly epoch: number
  /** What is needed to go on: JSON can hold it. */
  state(): unknown
  /** Goes on where `state` was taken. @throws StateError for the state of other data or options */
  load(state: unknown): void
}

export interface ForwardContext {
  /** Steps done. */
  readonly step: number
  /** The stream of this name, which is saved with the run: for dropout and the like. */
  stream(name: string): RandomStream
}

/** How a model is run. */
export interface ForwardPass {
  /** Hooks on the sites of the model. What they see may end with the stage that it is in; `readSites` keeps it. */
  readonly at?: Sites | undefined
  /** The step of training that it is run for; none in evaluation: no dropout, running statistics. */
  readonly training?: ForwardContext | undefined
}

/** A layer whose weight can be seen in another way, such as a Linear. */
export interface SourceLayer {
  /** Path of the parameter that it reads; layers may share one. */
  readonly name: string
  source: WeightSource
}

/** Numbers by name, such as `accuracy`. */
export type Quality = Readonly<Record<string, number>>

export interface TrainingTask<B extends TrainingBatch> {
  /** What training changes, and what the forward changes by itself. */
  readonly parameters: Parameters
  /** Layers that methods may give another source, for `losses` and for `evaluate` alike. @default none */
  readonly layers?: readonly SourceLayer[]
  /** The loss of each sample, [samples], as a mean over what is counted of it. Runs on the tape, in training mode. */
  losses(batch: B, context: ForwardContext): Tensor
  /**
   * How much each sample counts, [samples], such as its tokens that are not ignored. Where samples count the same the
   * loss of a step is the mean of `losses`. A batch in which none counts has the loss 0 and gradients of 0; it is a step
   * like others, in which momentum and weight decay act. @default the same
   */
  counts?(batch: B): Tensor
  /** Units of work of a batch for the live line: tokens or images. @default samples */
  work?(batch: B): { units: number; unit: string }
  /** Quality on data that is held out, by name. */
  evaluate?(signal?: AbortSignal): Quality | Promise<Quality>
}
