/** What the JaxPruner experiment trains, and how: its settings, and the training of each of its jobs. */
import { mlp } from '#src/models/classifiers/mlp.ts'
import type { TrainingMethod } from '#src/optim/training_method.ts'
import type { TrainingBatch } from '#src/optim/training_task.ts'
import { pruningMethods } from '#src/prune/training_methods.ts'
import type { Job, Stamp } from './experiment.ts'
import { type ImageTraining, trainClassifier } from './image_training.ts'
import { type LanguageTraining, smallLanguage, trainLanguageModel } from './language_training.ts'
import type { Sizes } from './sizes.ts'

export const images: ImageTraining = { data: 'digits on photographs', epochs: 10, batch: 128, rate: 1e-3 }
export const fewImages: ImageTraining = { data: 'small digits', epochs: 10, batch: 32, rate: 1e-3 }
export const language = { ...smallLanguage, width: 256 }

export const algorithms = [
  'no_prune',
  'magnitude',
  'saliency',
  'magnitude_ste',
  'global_magnitude',
  'global_saliency',
  'rigl',
  'set',
  'static_sparse',
  'random',
  'random_ste',
] as const
export type Algorithm = (typeof algorithms)[number]
/** Those that train the language model too. */
export const languageAlgorithms: readonly Algorithm[] = [
  'no_prune',
  'magnitude',
  'rigl',
  'static_sparse',
  'random',
]

export interface JaxprunerJob extends Job {
  part: 'images' | 'language'
  algorithm: Algorithm
  distribution: 'erk' | 'uniform' | 'global' | 'none'
  /** That is asked for, of all weight matrices. */
  sparsity: number
  setup: ImageTraining | (LanguageTraining & { width: number })
}

export interface JaxprunerRun extends JaxprunerJob, Stamp, Sizes {
  /** Share of held-out images that are right, or nats a token on held-out text. */
  score: number
  lossOf?: Readonly<Record<string, number>>
  images?: number
  tokens?: number
  seconds: number
  processorSeconds: number
}

/** What a run has besides the fields of its job. */
export async function trainJaxpruner(
  { part, algorithm, distribution, sparsity, seed, setup }: JaxprunerJob,
  assets: string,
): Promise<Omit<JaxprunerRun, keyof JaxprunerJob | keyof Stamp>> {
  const method = (steps: number) => methodOf(algorithm, { distribution, sparsity, seed, steps })
  if (part === 'images') {
    const training = setup as ImageTraining
    const inputs = training.data === 'small digits' ? 64 : 784
    const { accuracy, ...found } = await trainClassifier(training, {
      network: (weights) => mlp({ widths: [inputs, 300, 100, 10] }, weights),
      method,
      seed,
      assets,
    })
    return { score: accuracy, ...found }
  }
  const { width, ...training } = setup as typeof language
  const { loss, ...found } = await trainLanguageModel(training, { width, method, seed, assets })
  return { score: loss, ...found }
}

/** Masks change from 10% of the steps to 75%, 33 times; SET and RigL move connections from the first step on. */
function methodOf(
  algorithm: Algorithm,
  {
    distribution,
    sparsity,
    seed,
    steps,
  }: Pick<JaxprunerJob, 'distribution' | 'sparsity' | 'seed'> & { steps: number },
): TrainingMethod<TrainingBatch> {
  const [every, end] = [Math.max(1, Math.round(steps / 50)), Math.round(0.75 * steps)]
  const spread = distribution === 'erk' ? ({ kind: 'erk' } as const) : ({ kind: 'uniform' } as const)
  const schedule = { kind: 'polynomial', begin: Math.round(0.1 * steps), end, every } as const
  switch (algorithm) {
    case 'no_prune':
      return pruningMethods.no_prune()
    case 'static_sparse':
      return pruningMethods.static_sparse({ sparsity, distribution: spread, seed })
    case 'set':
    case 'rigl':
      return pruningMethods[algorithm]({
        sparsity,
        distribution: spread,
        seed,
        begin: 1,
        end,
        every,
        drop: 0.3,
      })
    case 'global_magnitude':
    case 'global_saliency':
      return pruningMethods[algorithm]({ sparsity, schedule })
    default:
      return pruningMethods[algorithm]({ sparsity, distribution: spread, seed, schedule })
  }
}
