/** Classifiers in training. */
import {
  type ClassifierConfig,
  type ClassifierShape,
  classifierOf,
  classifierToJson,
} from '../../models/classifiers/classifier_config.ts'
import { freshClassifier, type LoadedClassifier } from '../../models/classifiers/load_classifier.ts'
import { AbortError, OptionError } from '../../tensor/errors.ts'
import { type ComputeType, crossEntropy, randomStream, scope } from '../../tensor/index.ts'
import { classifierTask } from '../../train/classifier_task.ts'
import type { ImageData } from './image_data.ts'
import type { LenetRecipe, MlpRecipe, ResnetRecipe } from './model_fields.ts'
import { inParts, type TrainedModel } from './trained_model.ts'
import { countWeights, type Fits } from './training_memory.ts'

export interface ClassifierTrainingOptions {
  data: ImageData
  seed: number
  dtype: ComputeType
  /** Images of a batch. */
  batch: number
  fits: Fits
}

/** A network with new weights. @throws OptionError for shapes that cannot be */
export function newClassifier(
  recipe: ResnetRecipe | LenetRecipe | MlpRecipe,
  options: ClassifierTrainingOptions,
): TrainedModel {
  const { image, classes, normalise } = options.data
  const config: ClassifierConfig = { shape: shapeOf(recipe), image, classes, normalise }
  options.fits(countWeights((weights) => classifierOf(config, weights)))
  return trained(freshClassifier(config, options), options)
}

/** A network whose weights are there. @throws OptionError for images or classes that it was not made for */
export function continuedClassifier(
  loaded: LoadedClassifier,
  options: ClassifierTrainingOptions,
): TrainedModel {
  const { image, classes } = options.data
  for (const [field, found, needed] of [
    ['images', image, loaded.config.image],
    ['classes', classes, loaded.config.classes],
  ] as const)
    if (JSON.stringify(found) !== JSON.stringify(needed))
      throw new OptionError(
        `train.data: the model of train.model.source needs ${field} ${needed.join(', ')}, got ${found.join(', ')}`,
        { code: 'PARE_E_FIELD', facts: { field: 'train.data' } },
      )
  return trained(loaded, options)
}

/** @throws OptionError for a number of widths that cannot be */
export function shapeOf(recipe: ResnetRecipe | LenetRecipe | MlpRecipe): ClassifierShape {
  switch (recipe.family) {
    case 'resnet':
      return { family: 'resnet', depth: recipe.depth, width: recipe.width ?? 16 }
    case 'mlp':
      return { family: 'mlp', hidden: recipe.hidden }
    case 'lenet': {
      const [first, second, ...more] = recipe.convolutions ?? [20, 50]
      if (first === undefined || second === undefined || more.length > 0)
        throw new OptionError('train.model.convolutions: two widths are needed', { code: 'PARE_E_FIELD' })
      return { family: 'lenet', convolutions: [first, second], hidden: recipe.hidden ?? 500 }
    }
  }
}

function trained(
  { config, classifier, parameters }: LoadedClassifier,
  { data, dtype, batch }: ClassifierTrainingOptions,
): TrainedModel {
  return {
    family: config.shape.family,
    task: classifierTask(classifier, parameters, { dtype }),
    classes: config.classes.length,
    async evaluate(examples, signal) {
      let [nats, right] = [0, 0]
      for (const ids of inParts(examples, Math.max(batch, 64))) {
        await new Promise((done) => setImmediate(done))
        if (signal?.aborted) throw new AbortError()
        scope(() => {
          const { inputs, labels } = data.heldOut.batch(ids, randomStream(0, 'held out'))
          const logits = classifier.forward(inputs.cast(dtype))
          nats += crossEntropy(logits, labels, { reduction: 'none' }).cast('f64').sum().item()
          right += logits.argmax(-1).equal(labels).cast('f64').sum().item()
        })
      }
      return { loss: nats / examples.length, accuracy: right / examples.length, images: examples.length }
    },
    files: () => new Map([['config.json', `${JSON.stringify(classifierToJson(config), null, 2)}\n`]]),
  }
}
