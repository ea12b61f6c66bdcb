/** What the ONNX target needs to know of models of images, with the weights that go with it. */
import type { ClassifierConfig } from '../classifiers/classifier_config.ts'
import { classifierToJson } from '../classifiers/classifier_config.ts'
import type { LoadedClassifier } from '../classifiers/load_classifier.ts'
import type { EfficientNet } from '../efficientnet/efficientnet.ts'
import { classifierName } from '../efficientnet/names.ts'
import { memoryWeights } from '../memory_weights.ts'
import type { ModelWeights } from '../model_weights.ts'
import { json } from '../write/folder_source.ts'
import type { OnnxSource } from '../write/onnx_target.ts'
import { classifierGraph, resnetNorms } from './classifier_graph.ts'
import { convolutionNames, efficientNetGraph } from './efficientnet_graph.ts'
import { foldedNorms } from './folded_norms.ts'

export interface ImageModel {
  readonly source: OnnxSource
  /** Of the model, by the names that a plan has. */
  readonly weights: ModelWeights
}

/** @example const { source, weights } = efficientNetImages(model); planOnnx(source, { type: 'F16' }) */
export function efficientNetImages({ config, weights }: EfficientNet): ImageModel {
  const names = convolutionNames(config)
  const norms = new Map(names.map(({ convolution, norm }) => [`${convolution}.weight`, norm]))
  const { mean, deviation } = config.colours
  const [size, border] = [config.imageSize, config.imageSize + 32]
  return {
    weights,
    source: {
      infos: weights.infos,
      matrices: new Set([`${classifierName}.weight`]),
      graph: (builder) => efficientNetGraph(config, builder),
      arranged: foldedNorms(weights, { norms, epsilon: config.normEpsilon, inputsLast: false }),
      companions: () => ({
        config: {
          architectures: ['EfficientNetForImageClassification'],
          model_type: 'efficientnet',
          image_size: size,
          num_channels: 3,
          num_labels: config.classes,
        },
        files: new Map([
          [
            'preprocessor_config.json',
            json({
              ...imageProcessor([mean / 255, mean / 255, mean / 255], Array(3).fill(deviation / 255)),
              do_center_crop: true,
              size: { height: border, width: border },
              crop_size: { height: size, width: size },
            }),
          ],
        ]),
      }),
    },
  }
}

/** The weights stay those of the classifier, which must live until they are written. */
export function classifierImages({ config, parameters }: LoadedClassifier): ImageModel {
  const states = [...parameters.states()]
  const weights = memoryWeights(new Map(states.map(([name, state]) => [name, state.tensor()])))
  const { shape, image, normalise, classes } = config
  const norms =
    shape.family === 'resnet'
      ? new Map([...resnetNorms(shape)].map(([convolution, norm]) => [`${convolution}.weight`, norm]))
      : new Map<string, string>()
  const [height, width] = image
  return {
    weights,
    source: {
      infos: weights.infos,
      matrices: new Set(
        [...weights.infos.values()].flatMap(({ name, shape: { length } }) => (length === 2 ? [name] : [])),
      ),
      graph: (builder) => classifierGraph(config, builder),
      arranged: foldedNorms(weights, { norms, epsilon: 1e-5, inputsLast: true }),
      companions: () => ({
        config: { ...classifierToJson(config), ...labelsOf(classes) },
        files: new Map([
          [
            'preprocessor_config.json',
            json({ ...imageProcessor(normalise.mean, normalise.deviation), size: { height, width } }),
          ],
        ]),
      }),
    },
  }
}

/** What makes pixel_values of an image, in the words of transformers. */
const imageProcessor = (mean: readonly number[], deviation: readonly number[]) => ({
  image_processor_type: 'EfficientNetImageProcessor',
  do_resize: true,
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  image_mean: mean,
  image_std: deviation,
})

const labelsOf = (classes: ClassifierConfig['classes']) => ({
  id2label: Object.fromEntries(classes.map((name, i) => [i, name])),
  label2id: Object.fromEntries(classes.map((name, i) => [name, i])),
})
