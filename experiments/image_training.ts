/** Networks that classify digits in training: data, loss, accuracy on held-out images. */
import { digitsData, type Split } from '#src/data/assets/digits.ts'
import { texturedDigits } from '#src/data/assets/textured_digits.ts'
import { channelStatistics, imageExamples } from '#src/data/image_set.ts'
import { freshWeights } from '#src/models/classifiers/fresh_weights.ts'
import type { Classifier } from '#src/models/classifiers/network.ts'
import type { WeightMaker } from '#src/models/weight_maker.ts'
import { Parameters } from '#src/nn/parameters.ts'
import { adam } from '#src/optim/adam.ts'
import type { Batch, Examples } from '#src/optim/examples.ts'
import { createLoader } from '#src/optim/loader.ts'
import { cosine, warmUp } from '#src/optim/schedules.ts'
import type { TrainingMethod } from '#src/optim/training_method.ts'
import type { TrainingBatch } from '#src/optim/training_task.ts'
import { inParts, spreadExamples } from '#src/run/training/trained_model.ts'
import { randomStream, scope } from '#src/tensor/index.ts'
import { classifierTask } from '#src/train/classifier_task.ts'
import { Trainer } from '#src/train/trainer.ts'
import { digitsOnPhotographs } from './digits_on_photographs.ts'
import { type Sizes, sizesOf } from './sizes.ts'
import { mean } from './spread.ts'
import { type TrainingTime, trainTimed } from './timed_training.ts'

/** Of scikit-learn, 8 x 8; of MNIST in white on photographs, 28 x 28; moved and coloured on photographs, 32 x 32 x 3. */
export type ImageData = 'small digits' | 'digits on photographs' | 'moved digits on textures'

export interface ImageTraining {
  data: ImageData
  epochs: number
  batch: number
  /** Largest rate of Adam, which falls to a hundredth on a cosine after a warm-up over a twentieth of the steps. */
  rate: number
}

const splits = new Map<string, Promise<Split>>()

export function imageData(data: ImageData, assets: string): Promise<Split> {
  const known = splits.get(`${assets}\0${data}`)
  if (known) return known
  const made = readImages(data, assets)
  splits.set(`${assets}\0${data}`, made)
  return made
}

async function readImages(data: ImageData, assets: string): Promise<Split> {
  switch (data) {
    case 'small digits':
      return digitsData({ assets })
    case 'digits on photographs':
      return digitsOnPhotographs(assets)
    case 'moved digits on textures':
      return texturedDigits({ assets })
  }
}

export interface TrainedClassifier extends Sizes, TrainingTime {
  /** Share of the held-out images whose class is the most likely one. */
  accuracy: number
  /** Mean loss over the last tenth of the steps. */
  loss: number
  steps: number
  images: number
}

/**
 * Trains a classifier with a method and measures it.
 *
 * @param method gets the number of steps, as schedules need it
 */
export async function trainClassifier(
  { data, epochs, batch, rate }: ImageTraining,
  {
    network,
    method,
    seed,
    assets,
  }: {
    network: (weights: WeightMaker) => Classifier
    method?: ((steps: number) => TrainingMethod<TrainingBatch>) | undefined
    seed: number
    assets: string
  },
): Promise<TrainedClassifier> {
  const { train, heldOut } = await imageData(data, assets)
  const normalise = channelStatistics(train)
  const steps = epochs * Math.floor(train.count / batch)
  const parameters = new Parameters()
  const net = network(freshWeights(parameters, { seed }))
  const own = method?.(steps)
  const trainer = new Trainer<Batch>({
    task: classifierTask(net, parameters),
    loader: createLoader(imageExamples(train, { normalise }), { batch, dropLast: true, seed }),
    optimiser: adam({
      rate: warmUp({ steps: Math.ceil(steps / 20) }, cosine({ from: rate, to: rate / 100, steps })),
    })(parameters),
    // Pruning methods hand batches on as they are.
    methods: own ? [own as TrainingMethod<Batch>] : [],
    seed,
  })
  const { losses, ...time } = await trainTimed(trainer, steps)
  const found = {
    accuracy: accuracyOf(net, imageExamples(heldOut, { normalise })),
    ...sizesOf(parameters.tensors()),
    loss: mean(losses.slice(-Math.ceil(steps / 10))),
    steps,
    images: steps * batch,
    ...time,
  }
  trainer.dispose()
  parameters.dispose()
  return found
}

/** Share of images whose class is the most likely one. */
function accuracyOf(net: Classifier, examples: Examples<Batch>): number {
  let right = 0
  for (const ids of inParts(spreadExamples(examples.count), 250))
    scope(() => {
      const { inputs, labels } = examples.batch(ids, randomStream(0, 'held out'))
      right += net.forward(inputs).argmax(-1).equal(labels).cast('f64').sum().item()
    })
  return right / examples.count
}
