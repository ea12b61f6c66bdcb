/** Classifiers as folders: config.json and model.safetensors. */
import { join } from 'node:path'
import { openSafetensors } from '../../formats/safetensors/safetensors.ts'
import { readJsonFile } from '../../formats/tokenizer/tokenizer.ts'
import { Parameters } from '../../nn/parameters.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { type ComputeType, scope } from '../../tensor/index.ts'
import { huggingFaceWeights } from '../huggingface_weights.ts'
import { checkWeightShape } from '../weight_shape.ts'
import { type ClassifierConfig, classifierFromJson, classifierOf } from './classifier_config.ts'
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
  const json = readJsonFile(join(folder, 'config.json'))
  if (!json)
    throw new FormatError(
      `${printable(folder)}: has no config.json, so that it is no folder of a classifier`,
      {
        code: 'PARE_E_NO_CONFIG',
        facts: { folder },
      },
    )
  const config = classifierFromJson(json)
  const weights = huggingFaceWeights(openSafetensors(folder), undefined, 0)
  const parameters = new Parameters()
  try {
    const classifier = classifierOf(config, {
      weight: (path, shape) =>
        scope(() => {
          checkWeightShape(weights, path, shape)
          return parameters.add(path, weights.load(path).cast(dtype))
        }),
      buffer: (path, shape) =>
        scope(() => {
          checkWeightShape(weights, path, shape)
          return parameters.addBuffer(path, weights.load(path).cast(dtype === 'bf16' ? 'f32' : dtype))
        }),
    })
    return { config, classifier, parameters }
  } catch (error) {
    parameters.dispose()
    throw error
  } finally {
    weights.close()
  }
}
