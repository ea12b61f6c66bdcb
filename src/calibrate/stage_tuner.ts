/** The interfaces of methods that train what is stored: a stage, once each of its weights is decided, or the whole model. */
import type { Stage } from '../models/stage.ts'
import type { StageFloat } from '../models/stage_floats.ts'
import type { Tensor } from '../tensor/index.ts'
import type { StageSamples } from './walk.ts'

/** What came out of the training of a stage, or of a model. */
export interface StageTuning {
  /** Mean loss before the first pass over the samples and after each. */
  readonly losses: readonly number[]
  /** The pass whose numbers were kept; 0 is none. */
  readonly kept: number
  /** Norms and biases of the stages that hold other numbers now. */
  readonly floats: readonly StageFloat[]
}

export interface TuningHooks {
  readonly signal?: AbortSignal | undefined
  /** Called after each step with the share of the training that is done, at most 1. */
  progress?(share: number): void
}

/** A method of the stage shape: a factory's record. */
export interface StageTuner {
  readonly name: string
  /**
   * What the outputs of a stage are held against: those of the source's stage on the same inputs, or those of the source on
   * its own.
   */
  readonly target: 'denseOnCurrent' | 'dense'
  /**
   * Exchanges sources of the stage for others that are stored in the same form, and floats for others of their shape; what
   * is new belongs to the caller's scope.
   *
   * @returns nothing where the stage holds no weight of this method
   */
  tune(stage: Stage, samples: StageSamples, hooks: TuningHooks): StageTuning | undefined
}

/** Logits [tokens, vocabulary] of a model that is trained and of its source, some sequences at a time. */
export interface ModelSamples {
  /** Batches. */
  readonly count: number
  /** Of the model with its stages as they are now. */
  student(batch: number): Tensor
  teacher(batch: number): Tensor
}

/** A method of the model shape: a factory's record. */
export interface ModelTuner {
  readonly name: string
  /** Trains all stages at once, which it leaves as `StageTuner.tune` does. */
  tune(stages: readonly Stage[], samples: ModelSamples, hooks: TuningHooks): StageTuning
}
