/** The interface of methods that train a stage as a whole, once each of its weights is decided. */
import type { Stage } from '../models/stage.ts'
import type { StageFloat } from '../models/stage_floats.ts'
import type { StageSamples } from './walk.ts'

/** What came out of the training of a stage. */
export interface StageTuning {
  /** Mean loss before the first pass over the samples and after each. */
  readonly losses: readonly number[]
  /** The pass whose numbers were kept; 0 is none. */
  readonly kept: number
  /** Norms and biases of the stage that hold other numbers now. */
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
