/**
 * The eleven algorithms of JaxPruner side by side: an MLP on digits at three sparsities, and a language model at 80%.
 *
 * `--only rigl` leaves one algorithm, `--only images` or `--only language` one part.
 */
import { mlp } from '#src/models/classifiers/mlp.ts'
import { nearestField } from '#src/nn/nearest_names.ts'
import type { TrainingMethod } from '#src/optim/training_method.ts'
import type { TrainingBatch } from '#src/optim/training_task.ts'
import { pruningMethods } from '#src/prune/training_methods.ts'
import { OptionError, printable } from '#src/tensor/errors.ts'
import type { Context, Experiment, JobOptions } from './experiment.ts'
import { type ImageTraining, trainClassifier } from './image_training.ts'
import {
  accuracyOf,
  claims,
  figures,
  type JaxprunerJob,
  type JaxprunerRun,
  nameOf,
  page,
  part,
  summarize,
} from './jaxpruner_page.ts'
import { smallLanguage, trainLanguageModel } from './language_training.ts'

const images: ImageTraining = { data: 'digits on photographs', epochs: 10, batch: 128, rate: 1e-3 }
const fewImages: ImageTraining = { data: 'small digits', epochs: 10, batch: 32, rate: 1e-3 }
export const language = { ...smallLanguage, width: 256 }

const algorithms = [
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
type Algorithm = (typeof algorithms)[number]
/** In the language model. */
const few: readonly Algorithm[] = ['no_prune', 'magnitude', 'rigl', 'static_sparse', 'random']

export const jaxpruner: Experiment<JaxprunerJob, JaxprunerRun> = {
  name: 'jaxpruner',
  title: 'Eleven ways to train sparse networks',
  sources: [
    ...['distribution', 'drop_grow', 'global', 'global_mask', 'layerwise', 'mask', 'mask_schedule'],
    ...['masked_training', 'pattern', 'scores', 'selection', 'sparse_training', 'straight_through'],
  ].map((name) => `src/prune/${name}.ts`),
  systems: ['jaxpruner'],
  assets: (quick) =>
    quick
      ? ['images-sklearn']
      : ['mnist-10k', 'images-skimage', 'images-sklearn', 'text-sotu', 'text-moby-dick'],
  jobs,
  describe: (job) => `${nameOf(job)}, seed ${job.seed}`,
  measure,
  outcome: ({ part, score, measuredSparsity, seconds }) =>
    `${part === 'images' ? `accuracy ${(100 * score).toFixed(2)}%` : `loss ${score.toFixed(4)}`}, sparsity ${measuredSparsity.toFixed(4)}, ${seconds.toFixed(0)} s`,
  summary: summarize,
  claims,
  page,
  part,
  figures,
  failures({ runs }) {
    const [best, worst] = ['magnitude', 'random'].map((name) => accuracyOf(runs, name, 'erk', 0.95))
    if (best === undefined || worst === undefined) return []
    return best >= worst + 0.05
      ? []
      : [
          `at 95% sparsity magnitude must beat random by 5 points, it has ${(100 * best).toFixed(1)}% against ${(100 * worst).toFixed(1)}%`,
        ]
  },
}

function jobs({ quick, seeds, only }: JobOptions): JaxprunerJob[] {
  const words = ['images', 'language', ...algorithms]
  for (const word of only ?? [])
    if (!(words as string[]).includes(word))
      throw new OptionError(
        `--only ${printable(word)}: the nearest is ${nearestField(word, words)}; needed is images, language or an algorithm`,
      )
  const sparsities = quick ? [0.95] : [0.95, 0.8, 0.98]
  const wanted = quick ? (['no_prune', 'magnitude', 'rigl', 'static_sparse', 'random'] as const) : algorithms
  const all = seeds.flatMap((seed): JaxprunerJob[] => {
    const setup = quick ? fewImages : images
    const dense = {
      part: 'images',
      algorithm: 'no_prune',
      distribution: 'none',
      sparsity: 0,
      seed,
      setup,
    } as const
    return [
      dense,
      ...sparsities.flatMap((sparsity) =>
        wanted.flatMap((algorithm) =>
          distributionsOf(algorithm, quick).map(
            (distribution): JaxprunerJob => ({ ...dense, algorithm, distribution, sparsity }),
          ),
        ),
      ),
      ...(quick ? [] : few).map(
        (algorithm): JaxprunerJob => ({
          part: 'language',
          algorithm,
          distribution: algorithm === 'no_prune' ? 'none' : 'erk',
          sparsity: algorithm === 'no_prune' ? 0 : 0.8,
          seed,
          setup: language,
        }),
      ),
    ]
  })
  const parts = ['images', 'language'].filter((part) => only?.includes(part))
  const chosen = algorithms.filter((algorithm) => only?.includes(algorithm))
  return all.filter(
    ({ part, algorithm }) =>
      (parts.length === 0 || parts.includes(part)) &&
      (chosen.length === 0 || chosen.includes(algorithm as Algorithm)),
  )
}

function distributionsOf(algorithm: Algorithm, quick: boolean): readonly JaxprunerJob['distribution'][] {
  if (algorithm === 'no_prune') return []
  if (algorithm.startsWith('global_')) return ['global']
  return quick ? ['erk'] : ['erk', 'uniform']
}

async function measure(
  { part, algorithm, distribution, sparsity, seed, setup }: JaxprunerJob,
  { assets }: Context,
) {
  const method = (steps: number) => methodOf(algorithm as Algorithm, { distribution, sparsity, seed, steps })
  if (part === 'images') {
    const training = setup as ImageTraining
    const inputs = training.data === 'small digits' ? 64 : 784
    const { accuracy, ...found } = await trainClassifier(training, {
      network: (weights) => mlp({ widths: [inputs, 300, 100, 10] }, weights),
      method,
      seed,
      assets: assets!,
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
