/** Language models in training: cross-entropy of the next token. */
import type { Parameters } from '../nn/parameters.ts'
import type { ForwardPass, SourceLayer } from '../optim/training_task.ts'
import type { Tensor } from '../tensor/index.ts'
import { type LabelledBatch, type LogitsTask, labelledTask } from './labelled_task.ts'

/** Windows of a text, u32 [batch, tokens], and the tokens that follow each of theirs. */
export type LanguageBatch = LabelledBatch

/** A model of any family, on the tape. */
export interface TrainableLanguageModel {
  /** Token ids, u32 [batch, tokens] -> logits [batch, tokens, vocabulary] */
  logits(ids: Tensor, pass?: ForwardPass): Tensor
  /** What methods may give another weight source. @default none */
  readonly layers?: readonly SourceLayer[]
}

export interface LanguageTaskOptions {
  evaluate?: (() => Readonly<Record<string, number>>) | undefined
  /** Label of tokens that do not count, such as those of a prompt. @default none */
  ignored?: number | undefined
}

/**
 * The loss of a sample is the mean over its tokens, in nats.
 *
 * @param model over the tensors of `parameters`: see `memoryWeights`
 * @example languageTask(new Llama(config, memoryWeights(parameters.tensors())).load(), parameters)
 */
export function languageTask(
  model: TrainableLanguageModel,
  parameters: Parameters,
  options: LanguageTaskOptions = {},
): LogitsTask<LanguageBatch> {
  return labelledTask<LanguageBatch>({
    ...options,
    parameters,
    layers: model.layers,
    logits: ({ inputs }, pass) => model.logits(inputs, pass),
    work: ({ inputs }) => ({ units: inputs.size, unit: 'tokens' }),
  })
}
