/**
 * The eleven algorithms of JaxPruner side by side: an MLP on digits at three sparsities, and a language model at 80%.
 *
 * `--only rigl` leaves one algorithm, `--only images` or `--only language` one part.
 */
import { nearestField } from '#src/nn/nearest_names.ts'
import { OptionError, printable } from '#src/tensor/errors.ts'
import type { Experiment, JobOptions } from './experiment.ts'
import type { ImageTraining } from './image_training.ts'
import { claims, compared, figures, nameOf, page, part, summarize } from './jaxpruner_page.ts'
import {
  type Algorithm,
  algorithms,
  fewImages,
  type JaxprunerJob,
  type JaxprunerRun,
  language,
  languageAlgorithms,
  images as shortImages,
  trainJaxpruner,
} from './jaxpruner_training.ts'
import { methodSources } from './method_sources.ts'

/** Four times the steps. */
const images: ImageTraining = { ...shortImages, epochs: 4 * shortImages.epochs }

export const jaxpruner: Experiment<JaxprunerJob, JaxprunerRun> = {
  name: 'jaxpruner',
  title: 'Eleven ways to train sparse networks',
  sources: methodSources('experiments/jaxpruner_training.ts'),
  systems: ['jaxpruner'],
  assets: (quick) =>
    quick
      ? ['images-sklearn']
      : ['mnist-10k', 'images-skimage', 'images-sklearn', 'text-sotu', 'text-moby-dick'],
  jobs,
  describe: (job) => `${nameOf(job)}, seed ${job.seed}`,
  measure: (job, { assets }) => trainJaxpruner(job, assets!),
  outcome: ({ part, score, measuredSparsity, seconds }) =>
    `${part === 'images' ? `accuracy ${(100 * score).toFixed(2)}%` : `loss ${score.toFixed(4)}`}, sparsity ${measuredSparsity.toFixed(4)}, ${seconds.toFixed(0)} s`,
  summary: summarize,
  claims,
  page,
  part,
  figures,
  failures({ runs }) {
    const found = compared(runs, 'magnitude', 'random')
    if (!found || found.difference.mean >= 0.05) return []
    return [
      `at 95% sparsity magnitude must beat random by 5 points, it has ${(100 * found.better).toFixed(1)}% against ${(100 * found.worse).toFixed(1)}%`,
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
  const imageJobs = (seed: number, setup: ImageTraining): JaxprunerJob[] => {
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
    ]
  }
  const languageJob = (seed: number, algorithm: Algorithm): JaxprunerJob => ({
    part: 'language',
    algorithm,
    distribution: algorithm === 'no_prune' ? 'none' : 'erk',
    sparsity: algorithm === 'no_prune' ? 0 : 0.8,
    seed,
    setup: language,
  })
  const all = seeds.flatMap((seed) =>
    quick
      ? imageJobs(seed, fewImages)
      : [
          ...imageJobs(seed, images),
          ...languageAlgorithms.map((algorithm) => languageJob(seed, algorithm)),
          ...imageJobs(seed, shortImages),
        ],
  )
  const parts = ['images', 'language'].filter((part) => only?.includes(part))
  const chosen = algorithms.filter((algorithm) => only?.includes(algorithm))
  return all.filter(
    ({ part, algorithm }) =>
      (parts.length === 0 || parts.includes(part)) && (chosen.length === 0 || chosen.includes(algorithm)),
  )
}

function distributionsOf(algorithm: Algorithm, quick: boolean): readonly JaxprunerJob['distribution'][] {
  if (algorithm === 'no_prune') return []
  if (algorithm.startsWith('global_')) return ['global']
  return quick ? ['erk'] : ['erk', 'uniform']
}
