/** The networks of the GMP experiment: a wide one, and narrower dense ones with as many weights as it keeps. */
import { type LenetOptions, lenet } from '#src/models/classifiers/lenet.ts'
import type { Classifier } from '#src/models/classifiers/network.ts'
import { weightShapes } from '#src/models/llama/weight_shapes.ts'
import type { WeightMaker } from '#src/models/weight_maker.ts'
import { keptCount } from '#src/prune/mask.ts'
import type { Selection } from '#src/prune/selection.ts'
import type { ImageData } from './image_training.ts'
import { type LanguageTraining, modelConfig } from './language_training.ts'

/** Small layers stay dense, as uniform sparsity would hurt them most: the first convolution and the classifier. */
export const prunedLayers: Selection = { except: ['conv1.weight', 'fc2.weight'] }
const embedding = 'model.embed_tokens.weight'
/** Of a language model: all but the embedding, which is the head too. */
export const prunedMatrices: Selection = { except: [embedding] }

type Widths = Required<Pick<LenetOptions, 'convolutions' | 'hidden'>>

const wide: Readonly<Record<'small digits' | 'moved digits on textures', Widths>> = {
  'small digits': { convolutions: [8, 16], hidden: 128 },
  'moved digits on textures': { convolutions: [12, 32], hidden: 256 },
}
const imageOf = (data: ImageData): [number, number, number] =>
  data === 'small digits' ? [8, 8, 1] : data === 'digits on photographs' ? [28, 28, 1] : [32, 32, 3]

/** The LeNet-like network for some data; a scale below 1 makes its layers narrower. */
export function lenetOf(data: ImageData, scale = 1): (weights: WeightMaker) => Classifier {
  const options = { classes: 10, image: imageOf(data), ...widthsOf(data, scale) }
  return (weights) => lenet(options, weights)
}

function widthsOf(data: ImageData, scale: number): Widths {
  const { convolutions, hidden } = wide[data as keyof typeof wide]
  const narrow = (width: number) => Math.max(1, Math.round(scale * width))
  return { convolutions: [narrow(convolutions[0]), narrow(convolutions[1])], hidden: narrow(hidden) }
}

/** Weights and biases by layer. */
function lenetSizes(data: ImageData, scale: number) {
  const [height, width, channels] = imageOf(data)
  const {
    convolutions: [one, two],
    hidden,
  } = widthsOf(data, scale)
  return {
    first: 25 * channels * one,
    pruned: [25 * one * two, (height / 4) * (width / 4) * two * hidden],
    last: 10 * hidden,
    biases: one + two + hidden + 10,
  }
}

/** Numbers that are not zero in the wide network at a sparsity of its pruned layers. */
export function keptOfLenet(data: ImageData, sparsity: number, scale = 1): number {
  const { first, pruned, last, biases } = lenetSizes(data, scale)
  return first + last + biases + pruned.reduce((sum, size) => sum + keptCount(size, sparsity), 0)
}

/** The smallest scale whose dense network has at least as many numbers as the wide one keeps. */
export function equalScale(data: ImageData, sparsity: number): number {
  const budget = keptOfLenet(data, sparsity)
  for (let parts = 1; parts <= 256; parts++)
    if (keptOfLenet(data, 0, parts / 256) >= budget) return parts / 256
  return 1
}

/** Numbers that are not zero in a language model whose matrices have a sparsity, all but the embedding. */
export const keptOfLanguageModel = (width: number, sparsity: number, training: LanguageTraining): number =>
  [...weightShapes(modelConfig(width, training))].reduce((sum, [name, shape]) => {
    const size = shape.reduce((product, extent) => product * extent, 1)
    return sum + (shape.length >= 2 && name !== embedding ? keptCount(size, sparsity) : size)
  }, 0)

/** The smallest width that the heads divide evenly, whose dense model has at least as many numbers as the wide one keeps. */
export function equalWidth(width: number, sparsity: number, training: LanguageTraining): number {
  const budget = keptOfLanguageModel(width, sparsity, training)
  // Rotary positions turn pairs, so that a head has an even width.
  const step = 2 * training.heads
  let narrow = step
  while (keptOfLanguageModel(narrow, 0, training) < budget) narrow += step
  return narrow
}
