/** Language models in training: cross-entropy of the next token. */
import type { Llama } from '../models/llama/llama.ts'
import { runStage } from '../models/stage.ts'
import type { Parameters } from '../nn/parameters.ts'
import type { TrainingBatch, TrainingTask } from '../optim/training_task.ts'
import { crossEntropy, scope, type Tensor } from '../tensor/index.ts'

/** Windows of a text and the tokens that follow each of theirs. */
export interface LanguageBatch extends TrainingBatch {
  /** Token ids, u32 [batch, tokens]. */
  readonly inputs: Tensor
  /** u32 [batch, tokens] */
  readonly labels: Tensor
}

/**
 * The loss of a sample is the mean over its tokens, in nats.
 *
 * @param model over the tensors of `parameters`: see `memoryWeights`
 * @example languageTask(new Llama(config, memoryWeights(parameters.tensors())), parameters)
 */
export function languageTask(
  model: Llama,
  parameters: Parameters,
  evaluate?: () => Readonly<Record<string, number>>,
): TrainingTask<LanguageBatch> {
  const resident = model.load()
  return {
    parameters,
    losses: ({ inputs, labels }) =>
      scope(() => {
        const [batch, tokens] = inputs.shape as [number, number]
        const ids = scope(() => inputs.toArray() as Uint32Array)
        const context = model.context(tokens)
        let hidden = model.embed(ids).reshape([batch, tokens, model.config.hidden])
        for (const stage of resident.stages) {
          const before = hidden
          hidden = scope(() => runStage(stage, before, context))
        }
        const logits = resident.head.logits(hidden)
        return crossEntropy(logits, labels, { reduction: 'none' }).mean(1).cast(logits.dtype)
      }),
    work: ({ inputs }) => ({ units: inputs.size, unit: 'tokens' }),
    ...(evaluate ? { evaluate } : {}),
  }
}
