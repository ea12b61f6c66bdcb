/** What the GMP experiment trains, and how: its settings, and the training of each of its jobs. */
import type { TrainingMethod } from '#src/optim/training_method.ts'
import type { TrainingBatch } from '#src/optim/training_task.ts'
import { gmp } from '#src/prune/gmp.ts'
import { magnitude } from '#src/prune/layerwise.ts'
import type { Selection } from '#src/prune/selection.ts'
import type { Job, Stamp } from './experiment.ts'
import { lenetOf, prunedLayers, prunedMatrices } from './gmp_models.ts'
import { type ImageTraining, trainClassifier } from './image_training.ts'
import { type LanguageTraining, trainLanguageModel } from './language_training.ts'
import type { Sizes } from './sizes.ts'

export const images: ImageTraining = { data: 'moved digits on textures', epochs: 12, batch: 64, rate: 1e-3 }
export const fewImages: ImageTraining = { data: 'small digits', epochs: 8, batch: 32, rate: 2e-3 }
/** 3.1 million tokens. */
export const language: LanguageTraining = {
  data: 'addresses and novel',
  vocabulary: 512,
  layers: 2,
  heads: 4,
  length: 128,
  batch: 8,
  steps: 3000,
  rate: 3e-3,
  windows: 64,
}
/** Of the language model that is pruned. */
export const wideWidth = 128

export type Treatment =
  | 'dense'
  | 'dense, as many weights'
  | 'gradual'
  | 'gradual, embedding too'
  | 'one shot at the end'
  | 'one shot half-way, then fine-tuning'

export interface GmpJob extends Job {
  part: 'images' | 'language'
  treatment: Treatment
  /** Of the pruned matrices; of a dense network, that of the wide one that keeps as many weights. */
  sparsity: number
  /** Of the language model, or as a share of the wide network's. */
  width: number
  setup: ImageTraining | LanguageTraining
}

export interface GmpRun extends GmpJob, Stamp, Sizes {
  /** Share of held-out images that are right, or nats a token on held-out text. */
  score: number
  lossOf?: Readonly<Record<string, number>>
  images?: number
  tokens?: number
  seconds: number
  processorSeconds: number
}

/** What a run has besides the fields of its job. */
export async function trainGmp(
  { part, treatment, sparsity, width, seed, setup }: GmpJob,
  assets: string,
): Promise<Omit<GmpRun, keyof GmpJob | keyof Stamp>> {
  const method = methodOf(treatment, sparsity, part === 'images' ? prunedLayers : prunedMatrices)
  if (part === 'images') {
    const training = setup as ImageTraining
    const { accuracy, ...found } = await trainClassifier(training, {
      network: lenetOf(training.data, width),
      method,
      seed,
      assets,
    })
    return { score: accuracy, ...found }
  }
  const training = setup as LanguageTraining
  const { loss, ...found } = await trainLanguageModel(training, { width, method, seed, assets })
  return { score: loss, ...found }
}

/** Masks change from 10% of the steps to 75%, 33 times; or once, at the last step or half-way. */
function methodOf(
  treatment: Treatment,
  sparsity: number,
  selection: Selection,
): ((steps: number) => TrainingMethod<TrainingBatch>) | undefined {
  const once = (at: number) =>
    magnitude({
      sparsity,
      distribution: { kind: 'uniform', ...selection },
      schedule: { kind: 'oneShot', at },
    })
  const gradual = (selection: Selection) => (steps: number) =>
    gmp({
      sparsity,
      selection,
      begin: Math.round(0.1 * steps),
      end: Math.round(0.75 * steps),
      every: Math.max(1, Math.round(steps / 50)),
    })
  switch (treatment) {
    case 'gradual':
      return gradual(selection)
    case 'gradual, embedding too':
      return gradual({})
    case 'one shot at the end':
      return (steps) => once(steps - 1)
    case 'one shot half-way, then fine-tuning':
      return (steps) => once(Math.round(steps / 2))
    default:
      return undefined
  }
}
