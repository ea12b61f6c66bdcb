/** What evaluation and calibration need of a language model, of any family. */
import type { Tensor } from '../tensor/index.ts'
import type { ResourceHolder } from '../tensor/scope.ts'
import type { StageContext, StagePlan } from './stage.ts'

/** The last norm and the matrix that turns hidden states into logits. */
export interface LanguageHead extends ResourceHolder {
  /** hidden [tokens, hidden] -> logits [tokens, vocabulary] */
  logits(hidden: Tensor): Tensor
}

export interface HeadOptions {
  /**
   * Rows of the matrix (tokens of the vocabulary) in memory at a time. Fewer than all are read again for each call of
   * `logits`, whose values are the same. @default all
   */
  blockRows?: number | undefined
}

export interface LanguageModel {
  readonly stages: readonly StagePlan[]
  /** Token ids -> embeddings [ids.length, hidden] */
  embed(ids: Uint32Array): Tensor
  /** Side inputs of the stages for a sequence of `tokens` from its beginning. */
  context(tokens: number): StageContext
  loadHead(options?: HeadOptions): LanguageHead
}
