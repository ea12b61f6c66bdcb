/** Models that give logits, in training on labels: the next tokens of a text, or the classes of images. */
import type { Parameters } from '../nn/parameters.ts'
import { bySamples, meanOfRows } from '../nn/sample_means.ts'
import type {
  ForwardContext,
  ForwardPass,
  SourceLayer,
  TrainingBatch,
  TrainingTask,
} from '../optim/training_task.ts'
import { crossEntropy, scope, type Tensor } from '../tensor/index.ts'

export interface LabelledBatch extends TrainingBatch {
  /** What the model takes, [samples, ..]. */
  readonly inputs: Tensor
  /** u32 [samples, ..]: a label for each row of the logits. */
  readonly labels: Tensor
}

/** A task whose loss follows from logits, so that others can look at them too. */
export interface LogitsTask<B extends TrainingBatch> extends TrainingTask<B> {
  /** Logits [samples, .., classes]. */
  logits(batch: B, pass: ForwardPass): Tensor
  /** The loss of each sample, [samples], from its logits. */
  lossesOf(logits: Tensor, batch: B): Tensor
  /** Which rows of the logits have a label that counts, bool [samples, ..]. @default all */
  counted?(batch: B): Tensor | undefined
  /** Which places of hidden states hold no padding, bool [samples, ..]. @default all */
  attended?(batch: B): Tensor | undefined
}

export interface LabelledTaskOptions<B extends LabelledBatch> {
  parameters: Parameters
  logits: (batch: B, pass: ForwardPass) => Tensor
  /** @default none */
  layers?: readonly SourceLayer[] | undefined
  /** Label of rows that do not count, a whole number. @default none */
  ignored?: number | undefined
  /** Share of the target that is spread over all classes, in [0, 1]. @default 0 */
  smoothing?: number | undefined
  attended?: ((batch: B) => Tensor | undefined) | undefined
  work?: TrainingTask<B>['work']
  evaluate?: TrainingTask<B>['evaluate'] | undefined
}

/**
 * Cross-entropy in nats; the loss of a sample is the mean over its rows that count, and 0 where none does.
 *
 * @example labelledTask({ parameters, logits: ({ inputs }, pass) => net.forward(inputs, { at: pass.at }) })
 */
export function labelledTask<B extends LabelledBatch>(options: LabelledTaskOptions<B>): LogitsTask<B> {
  const { parameters, logits, layers, ignored, smoothing = 0, attended, work, evaluate } = options
  const lossesOf = (found: Tensor, { labels }: B): Tensor =>
    scope(() => {
      const rows = crossEntropy(found, labels, {
        reduction: 'none',
        smoothing,
        ...(ignored === undefined ? {} : { ignored }),
      })
      return meanOfRows(rows, ignored === undefined ? undefined : labels.notEqual(ignored)).cast(found.dtype)
    })
  return {
    parameters,
    logits,
    lossesOf,
    losses: (batch, context: ForwardContext) =>
      scope(() => lossesOf(logits(batch, { training: context }), batch)),
    ...(layers && { layers }),
    ...(ignored !== undefined && {
      counted: ({ labels }: B) => labels.notEqual(ignored),
      counts: ({ labels }: B) => scope(() => bySamples(labels.notEqual(ignored).cast('f32')).sum(1)),
    }),
    ...(attended && { attended }),
    ...(work && { work }),
    ...(evaluate && { evaluate }),
  }
}
