/** Classifiers in training: cross-entropy of the class of each image. */
import type { Classifier } from '../models/classifiers/network.ts'
import type { Parameters } from '../nn/parameters.ts'
import type { ComputeType } from '../tensor/index.ts'
import { type LabelledBatch, type LogitsTask, labelledTask } from './labelled_task.ts'

export interface ClassifierTaskOptions {
  /** That the network computes in. @default 'f32' */
  dtype?: ComputeType
  /** Share of the target that is spread over all classes, in [0, 1]. @default 0 */
  smoothing?: number
}

/**
 * Batches of images [batch, height, width, channels] and their classes; the loss of an image is in nats.
 *
 * @example classifierTask(resnet({ depth: 8, classes: 10 }, freshWeights(parameters, { seed: 0 })), parameters)
 */
export function classifierTask(
  classifier: Classifier,
  parameters: Parameters,
  { dtype = 'f32', smoothing }: ClassifierTaskOptions = {},
): LogitsTask<LabelledBatch> {
  return labelledTask({
    parameters,
    layers: [...classifier.layers.values()],
    smoothing,
    logits: ({ inputs }, { at, training }) =>
      classifier.forward(inputs.cast(dtype), { at, training: training !== undefined }),
    work: ({ ids }) => ({ units: ids.length, unit: 'images' }),
  })
}
