/** Classifiers: from folders with config.json and model.safetensors, and new ones. */
import { Parameters } from '../../nn/parameters.ts'
import type { ComputeType } from '../../tensor/index.ts'
import { readTrainable } from '../trainable_folder.ts'
import { type ClassifierConfig, classifierFromJson, classifierOf } from './classifier_config.ts'
import { freshWeights } from './fresh_weights.ts'
import type { Classifier } from './network.ts'

export interface LoadedClassifier {
  readonly config: ClassifierConfig
  readonly classifier: Classifier
  /** All weights and running statistics, which a training may change. `dispose` frees them. */
  readonly parameters: Parameters
}

/**
 * Reads the folder that a training wrote.
 *
 * @param dtype that the network computes in. @default f32
 * @throws FormatError where a file is missing or damaged, or a weight has another shape than the config says
 * @example
 * const { classifier, config } = loadClassifier('resnet-8')
 * const logits = classifier.forward(images) // [batch, height, width, channels], normalised as config.normalise says
 */
export function loadClassifier(
  folder: string,
  { dtype = 'f32' }: { dtype?: ComputeType } = {},
): LoadedClassifier {
  const { network, parameters } = readTrainable(folder, dtype, (json, weights) => {
    const config = classifierFromJson(json)
    return { config, classifier: classifierOf(config, weights) }
  })
  return { ...network, parameters }
}

/**
 * A network with new weights, which depend on the seed and their names alone.
 *
 * @param dtype that the network computes in; masters of bf16 are f32. @default f32
 * @throws OptionError for shapes that cannot be, and a `normalise` that does not fit the channels
 * @example
 * const { classifier, parameters } = freshClassifier({
 *   shape: { family: 'mlp', hidden: [32] },
 *   image: [8, 8, 1],
 *   classes: [...'0123456789'],
 *   normalise: { mean: [0.3], deviation: [0.4] },
 * })
 */
export function freshClassifier(
  config: ClassifierConfig,
  { seed = 0, dtype = 'f32' }: { seed?: number; dtype?: ComputeType } = {},
): LoadedClassifier {
  const parameters = new Parameters()
  return { config, classifier: classifierOf(config, freshWeights(parameters, { seed, dtype })), parameters }
}
