/** Classifiers in training: cross-entropy of the class of each image. */
import type { Classifier } from '../models/classifiers/network.ts'
import type { Parameters } from '../nn/parameters.ts'
import type { TrainingBatch, TrainingTask } from '../optim/training_task.ts'
import { type ComputeType, crossEntropy, scope, type Tensor } from '../tensor/index.ts'

/** Images and their classes. */
export interface ClassifierBatch extends TrainingBatch {
  /** [batch, height, width, channels] */
  readonly inputs: Tensor
  /** u32 [batch] */
  readonly labels: Tensor
}

/**
 * The loss of an image is the cross-entropy of its class, in nats.
 *
 * @param dtype that the network computes in. @default f32
 * @example classifierTask(resnet({ depth: 8, classes: 10 }, freshWeights(parameters, { seed: 0 })), parameters)
 */
export function classifierTask(
  classifier: Classifier,
  parameters: Parameters,
  dtype: ComputeType = 'f32',
): TrainingTask<ClassifierBatch> {
  return {
    parameters,
    layers: [...classifier.layers.values()],
    losses: ({ inputs, labels }) =>
      scope(() =>
        crossEntropy(classifier.forward(inputs.cast(dtype), { training: true }), labels, {
          reduction: 'none',
        }),
      ),
    work: ({ ids }) => ({ units: ids.length, unit: 'images' }),
  }
}
