/**
 * Gradual magnitude pruning against one shot, and wide sparse networks against narrow dense ones with as many weights:
 * a LeNet-like network on moved digits, and a language model.
 *
 * `--only images` or `--only language` leaves one part, `--only images,0.95` one sparsity of it.
 */
import { OptionError, printable } from '#src/tensor/errors.ts'
import type { Experiment, JobOptions } from './experiment.ts'
import { equalScale, equalWidth } from './gmp_models.ts'
import { claims, compared, figures, nameOf, page, part, summarize } from './gmp_page.ts'
import {
  fewImages,
  type GmpJob,
  type GmpRun,
  images,
  language,
  type Treatment,
  trainGmp,
  wideWidth,
} from './gmp_training.ts'
import { methodSources } from './method_sources.ts'

export const gmp: Experiment<GmpJob, GmpRun> = {
  name: 'gmp',
  title: 'Gradual pruning: against one shot, and wide sparse against narrow dense',
  sources: methodSources('experiments/gmp_training.ts'),
  systems: ['gmp'],
  assets: (quick) =>
    quick
      ? ['images-sklearn']
      : ['mnist-10k', 'images-skimage', 'images-sklearn', 'text-sotu', 'text-moby-dick'],
  jobs,
  describe: (job) => `${nameOf(job)}, seed ${job.seed}`,
  measure: (job, { assets }) => trainGmp(job, assets!),
  outcome: ({ part, score, nonZeros, seconds }) =>
    `${part === 'images' ? `accuracy ${(100 * score).toFixed(2)}%` : `loss ${score.toFixed(4)}`}, ${nonZeros} non-zeros, ${seconds.toFixed(0)} s`,
  summary: summarize,
  claims,
  page,
  part,
  figures,
  failures({ runs }) {
    const found = compared(runs, ['gradual', 'one shot at the end'], { part: 'images', sparsity: 0.95 })
    if (!found || found.difference.mean >= 0.1) return []
    return [
      `at 95% gradual pruning must beat one shot at the end by 10 points, it has ${(100 * found.better).toFixed(1)}% against ${(100 * found.worse).toFixed(1)}%`,
    ]
  },
}

function jobs({ quick, seeds, only }: JobOptions): GmpJob[] {
  const wanted = only?.map(filterOf)
  const all = seeds.flatMap((seed) => [...imageJobs(quick, seed), ...(quick ? [] : languageJobs(seed))])
  return all.filter((job) => !wanted || wanted.some((matches) => matches(job)))
}

function filterOf(text: string): (job: GmpJob) => boolean {
  const [part, sparsity, ...rest] = text.split(',').map((word) => word.trim())
  if (
    (part !== 'images' && part !== 'language') ||
    rest.length > 0 ||
    (sparsity !== undefined && !(Number(sparsity) >= 0))
  )
    throw new OptionError(
      `--only ${printable(text)}: needed is images or language, with a sparsity if wanted, such as images,0.95`,
    )
  return (job) => job.part === part && (sparsity === undefined || job.sparsity === Number(sparsity))
}

function imageJobs(quick: boolean, seed: number): GmpJob[] {
  const setup = quick ? fewImages : images
  const job = (treatment: Treatment, sparsity: number, width = 1): GmpJob => ({
    part: 'images',
    treatment,
    sparsity,
    width,
    seed,
    setup,
  })
  const once = [
    job('gradual', 0.95),
    job('one shot at the end', 0.95),
    job('one shot half-way, then fine-tuning', 0.95),
  ]
  if (quick) return once
  return [
    ...once,
    job('dense', 0),
    ...[0.8, 0.9, 0.98].map((sparsity) => job('gradual', sparsity)),
    ...[0.8, 0.9, 0.95, 0.98].map((sparsity) =>
      job('dense, as many weights', sparsity, equalScale(setup.data, sparsity)),
    ),
  ]
}

function languageJobs(seed: number): GmpJob[] {
  const job = (treatment: Treatment, sparsity: number, width = wideWidth): GmpJob => ({
    part: 'language',
    treatment,
    sparsity,
    width,
    seed,
    setup: language,
  })
  return [
    job('gradual', 0.8),
    job('dense, as many weights', 0.8, equalWidth(wideWidth, 0.8, language)),
    job('dense', 0),
    job('dense', 0, wideWidth / 2),
    ...[0.5, 0.75, 0.9].map((sparsity) => job('gradual', sparsity)),
    job('gradual, embedding too', 0.8),
  ]
}
