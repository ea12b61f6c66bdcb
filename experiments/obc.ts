/**
 * OBC at equal bytes: OBQ against GPTQ and round to nearest, ExactOBS against SparseGPT and magnitude, and a stitched
 * network, on MiniLM, EfficientNet-Lite0 and four blocks of SmolLM2.
 *
 * `--only MiniLM` leaves the rows whose name holds that. `--quick` takes the first layers, few samples and few tests, and
 * fails unless OBQ is nearer than round to nearest at 3 bits, and ExactOBS than magnitude at half of the weights.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { OptionError, printable } from '#src/tensor/errors.ts'
import { dispose } from '#src/tensor/index.ts'
import type { Experiment, JobOptions } from './experiment.ts'
import { sources as gptqSources } from './gptq_result.ts'
import { type EncoderLab, openEncoder, scoreEncoder, stitchEncoder } from './obc_encoder.ts'
import { type ImageLab, openImages, scoreImages } from './obc_images.ts'
import { type LanguageLab, languageMatrices, openLanguage, scoreLanguage } from './obc_language.ts'
import { type Compressed, compressLayers, isCalibrated, prunings, roundings } from './obc_methods.ts'
import { claims, distanceOf, figures, nameOf, page, part, showScores, summarize } from './obc_page.ts'
import type { EncoderJob, ImageJob, LanguageJob, ObcJob, ObcRun } from './obc_run.ts'

export const obc: Experiment<ObcJob, ObcRun> = {
  name: 'obc',
  title: 'Optimal Brain Compression at equal bytes',
  sources: [
    ...['methods', 'encoder', 'images', 'language'].map((name) => `experiments/obc_${name}.ts`),
    'experiments/random_crops.ts',
    ...['layer_grams', 'inverse_hessian', 'level_database', 'levels'].map(
      (name) => `src/calibrate/${name}.ts`,
    ),
    ...['exact_obs', 'removal_counts', 'obs_pattern', 'one_shot', 'one_shot_magnitude', 'sparsegpt'].map(
      (name) => `src/prune/${name}.ts`,
    ),
    ...['obq', 'obq_levels'].map((name) => `src/quantize/${name}.ts`),
    ...['allocate', 'level_costs', 'stitch'].map((name) => `src/search/${name}.ts`),
    ...['choice', 'mod', 'rounding', 'row'].map((name) => `native/src/exact_obs/${name}.rs`),
    ...gptqSources,
  ],
  systems: ['obc'],
  assets: (quick) => [
    ...['minilm', 'text-sotu', 'efficientnet-lite0', 'images-skimage', 'images-sklearn'],
    ...(quick ? [] : ['smollm2', 'text-moby-dick']),
  ],
  jobs,
  describe: (job) => `${nameOf(job)}, seed ${job.seed}`,
  measure: (job, { assets }) => measure(job, assets!),
  outcome: (run) =>
    `${showScores(run)}, ${run.storedBits.toFixed(3)} bits a weight, ${run.processorSeconds.toFixed(1)} processor seconds`,
  summary: (runs) =>
    summarize(runs).map(({ runs, distance }) => ({ name: nameOf(runs[0]!), distance, seeds: runs.length })),
  claims: ({ runs }) => claims(runs),
  page,
  part: ({ runs }) => part(runs),
  figures: ({ runs }) => figures(runs),
  failures: ({ runs }) => lostOrders(runs),
}

const encoder = { samples: 128, length: 80, sentences: 500 }
const images = { crops: 128, tests: 1000, size: 224 }
const language = { samples: 64, length: 512, context: 512, windows: 20, every: 50 }

/** The cheap ones come first, so that a run that is stopped early has most. */
function jobs({ quick, seeds, only }: JobOptions): ObcJob[] {
  const all = quick ? quickJobs(seeds) : fullJobs(seeds)
  for (const word of only ?? [])
    if (!all.some((job) => nameOf(job).includes(word)))
      throw new OptionError(
        `--only ${printable(word)}: stands in the name of no row; the rows are ${[...new Set(all.map(nameOf))].join('; ')}`,
      )
  return only ? all.filter((job) => only.some((word) => nameOf(job).includes(word))) : all
}

function quickJobs(seeds: readonly number[]): ObcJob[] {
  const rows = [
    ...(['rtn', 'gptq', 'obq'] as const).map((method) => ({ method, level: '3 bits' }) as const),
    ...(['magnitude', 'sparsegpt', 'obs'] as const).map(
      (method) => ({ method, level: '50% zeros' }) as const,
    ),
  ]
  return seeds.flatMap((seed) => [
    ...rows.map((row): EncoderJob => {
      const setup = { samples: 24, length: 64, sentences: 16 }
      return { network: 'MiniLM', matrices: 'of the first attention', ...row, seed, setup }
    }),
    ...rows.map((row): ImageJob => {
      const setup = { crops: 16, tests: 20, size: 128 }
      return { network: 'EfficientNet-Lite0', matrices: 'of blocks 0 to 3', ...row, seed, setup }
    }),
  ])
}

function fullJobs(seeds: readonly number[]): ObcJob[] {
  const [first] = seeds
  const rounded = (['4 bits', '3 bits'] as const).flatMap((level) =>
    roundings.map((method) => ({ method, level })),
  )
  const pruned = (...levels: ('50% zeros' | '2:4')[]) =>
    levels.flatMap((level) => prunings.map((method) => ({ method, level })))
  const minilm = { network: 'MiniLM', matrices: 'of 384 inputs', setup: encoder } as const
  const convolution = 'of all convolutions'
  const efficientnet = { network: 'EfficientNet-Lite0', matrices: convolution, setup: images } as const
  // What draws no samples has one run.
  const runs = (seed: number, { method }: { method: string }) => seed === first || isCalibrated(method)
  const narrow = (seed: number): EncoderJob[] =>
    [...rounded, ...pruned('50% zeros', '2:4')]
      .filter((row) => runs(seed, row))
      .map((row) => ({ ...minilm, ...row, seed }))
  const convolutions = (seed: number): ImageJob[] =>
    [...rounded, ...pruned('50% zeros')]
      .filter((row) => runs(seed, row))
      .map((row) => ({ ...efficientnet, ...row, seed }))
  if (first === undefined) return []
  const fewRows = [...rounded.filter(({ level }) => level === '3 bits'), ...pruned('50% zeros')]
  return [
    ...narrow(first),
    ...convolutions(first),
    ...(['3 bits', '4 bits'] as const).map(
      (level): EncoderJob => ({ ...minilm, method: 'stitched', level, seed: first }),
    ),
    ...fewRows.map(
      (row): LanguageJob => ({
        ...{ network: 'SmolLM2', matrices: languageMatrices, ...row, seed: first, setup: language },
      }),
    ),
    ...fewRows.map((row): EncoderJob => ({ ...minilm, matrices: 'all', ...row, seed: first })),
    ...seeds.slice(1).flatMap((seed) => [...narrow(seed), ...convolutions(seed)]),
  ]
}

type Lab = { MiniLM: EncoderLab; 'EfficientNet-Lite0': ImageLab; SmolLM2: LanguageLab }[ObcJob['network']]

/** The last network with its calibration: neighbouring jobs share one. */
let held: { key: string; lab: Lab } | undefined

async function labOf<L extends Lab>(job: ObcJob, open: () => Promise<L>): Promise<L> {
  const key = JSON.stringify([job.network, job.matrices, job.seed, job.setup])
  if (held?.key === key) return held.lab as L
  if (held) dispose(held.lab.layers)
  held = undefined
  const lab = await open()
  held = { key, lab }
  return lab
}

async function measure(job: ObcJob, assets: string) {
  const { seed } = job
  switch (job.network) {
    case 'MiniLM': {
      const lab = await labOf(job, () =>
        openEncoder(assets, speechesOf(assets).text(), job.setup, job.matrices, seed),
      )
      const { method, level } = job
      if (method !== 'stitched')
        return measured(compressLayers(lab.layers, method, level), (weights) => scoreEncoder(lab, weights))
      const { profile, ...compressed } = stitchEncoder(lab, level as '3 bits' | '4 bits')
      return { profile, ...(await measured(compressed, (weights) => scoreEncoder(lab, weights))) }
    }
    case 'EfficientNet-Lite0': {
      const lab = await labOf(job, () => openImages(assets, job.setup, job.matrices, seed))
      return measured(compressLayers(lab.layers, job.method, job.level), (weights) =>
        scoreImages(lab, weights),
      )
    }
    case 'SmolLM2': {
      const lab = await labOf(job, () => openLanguage(assets, speechesOf(assets).files, job.setup, seed))
      return measured(compressLayers(lab.layers, job.method, job.level), (weights) =>
        scoreLanguage(lab, weights),
      )
    }
  }
}

async function measured<Scores>(
  { weights, bits, size, processorSeconds }: Compressed,
  score: (weights: Compressed['weights']) => Scores | Promise<Scores>,
) {
  const scores = await score(weights)
  dispose(weights)
  return { storedBits: bits / size, size, processorSeconds, ...scores }
}

/** Speeches in alphabetical order. */
function speechesOf(assets: string): { files: string[]; text(): string } {
  const folder = join(assets, 'data/text-sotu/data')
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.txt'))
    .sort()
    .map((name) => join(folder, name))
  return { files, text: () => files.map((file) => readFileSync(file, 'utf8')).join('\n\n') }
}

/** What corrects the other weights must be nearer than what does not, also in the small. */
function lostOrders(runs: readonly ObcRun[]): string[] {
  return [...new Set(runs.map(({ network }) => network))].flatMap((network) =>
    (
      [
        ['obq', 'rtn'],
        ['obs', 'magnitude'],
      ] as const
    ).flatMap(([better, worse]) => {
      const [near, far] = [better, worse].map((name) =>
        runs.find((run) => run.network === network && run.method === name),
      )
      if (!near || !far) return [`${network}: no run of ${better} has one of ${worse} beside it`]
      if (distanceOf(near) < distanceOf(far)) return []
      return [
        `${nameOf(near)}: must be nearer to the floats than ${worse}, got ${distanceOf(near).toPrecision(4)} against ${distanceOf(far).toPrecision(4)}`,
      ]
    }),
  )
}
