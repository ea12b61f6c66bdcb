/**
 * OBC in one shot on a small network of its own: accuracy of ResNet-20 of the zoo at 50, 75 and 90% zeros and at 4, 3 and 2
 * bits, beside magnitude, SparseGPT, round to nearest and GPTQ, with and without new statistics of the batch norms.
 */
import {
  type Claim,
  claimLines,
  commandOf,
  type Experiment,
  type Job,
  type JobOptions,
  machineLines,
  type Result,
  type Stamp,
  staleMark,
} from './experiment.ts'
import { lineFigure } from './figure.ts'
import { sources as gptqSources } from './gptq_result.ts'
import { type ClassifierScores, type ClassifierSetup, type Level, scoreClassifier } from './obc_classifier.ts'
import { type MethodName, prunings, roundings } from './obc_methods.ts'
import { foundOf, paired } from './paired.ts'
import { spreadOf } from './spread.ts'
import { groupBy, showSpread, table } from './table.ts'

interface DigitsJob extends Job {
  method: MethodName
  level: Level
  setup: ClassifierSetup
}
type DigitsRun = DigitsJob & Stamp & ClassifierScores

export const obcDigits: Experiment<DigitsJob, DigitsRun> = {
  name: 'obc_digits',
  title: 'Optimal Brain Compression of ResNet-20 in one shot',
  sources: [
    'experiments/obc_classifier.ts',
    'experiments/obc_methods.ts',
    'src/nn/batch_norm_estimation.ts',
    ...['layer_grams', 'inverse_hessian'].map((name) => `src/calibrate/${name}.ts`),
    ...['exact_obs', 'removal_counts', 'obs_pattern', 'one_shot', 'one_shot_magnitude', 'sparsegpt'].map(
      (name) => `src/prune/${name}.ts`,
    ),
    'src/quantize/obq.ts',
    ...['choice', 'mod', 'rounding', 'row'].map((name) => `native/src/exact_obs/${name}.rs`),
    ...gptqSources,
  ],
  systems: [],
  assets: (quick) => (quick ? ['images-sklearn'] : ['mnist-10k', 'images-skimage', 'images-sklearn']),
  jobs,
  describe: (job) => `${showLevel(job.level)}: ${job.method}, seed ${job.seed}`,
  measure: ({ setup, ...job }, { assets }) => scoreClassifier(setup, job, assets!),
  outcome: (run) =>
    `${percent(run.accuracy)}, ${percent(run.accuracyEstimated)} with new statistics, floats ${percent(run.accuracyFloats)}`,
  summary: (runs) =>
    rowsOf(runs).map(([first, ...others]) => ({
      level: showLevel(first!.level),
      method: first!.method,
      accuracy: spreadOf([first!, ...others].map(({ accuracy }) => accuracy)),
      accuracyEstimated: spreadOf([first!, ...others].map(({ accuracyEstimated }) => accuracyEstimated)),
    })),
  claims: ({ runs }) => claims(runs),
  page,
  part: () => '',
  figures: ({ runs }) =>
    new Map([
      [
        'obc_digits_zeros.svg',
        figureOf(
          runs.filter(({ level }) => 'zeros' in level),
          'share of zeros',
        ),
      ],
      [
        'obc_digits_bits.svg',
        figureOf(
          runs.filter(({ level }) => 'bits' in level),
          'bits of a code',
        ),
      ],
    ]),
  failures: ({ runs }) => lostOrders(runs),
}

const pruned: readonly Level[] = [{ zeros: 0.5 }, { zeros: 0.75 }, { zeros: 0.9 }]
const rounded: readonly Level[] = [{ bits: 4 }, { bits: 3 }, { bits: 2 }]
const pairs = [
  ['obs', 'magnitude'],
  ['obs', 'sparsegpt'],
  ['obq', 'rtn'],
  ['obq', 'gptq'],
] as const

function jobs({ quick, seeds, only }: JobOptions): DigitsJob[] {
  const setup: ClassifierSetup = quick
    ? { network: 'small', images: 100 }
    : { network: 'resnet-20', images: 500 }
  const all = seeds.flatMap((seed) => [
    ...(quick ? pruned.slice(2) : pruned).flatMap((level) =>
      prunings.map((method) => ({ method, level, setup, seed })),
    ),
    ...(quick ? rounded.slice(2) : rounded).flatMap((level) =>
      roundings.map((method) => ({ method, level, setup, seed })),
    ),
  ])
  return only ? all.filter((job) => only.some((word) => obcDigits.describe(job).includes(word))) : all
}

const showLevel = (level: Level) => ('bits' in level ? `${level.bits} bits` : `${100 * level.zeros}% zeros`)
const percent = (share: number) => `${(100 * share).toFixed(2)}%`
const rowsOf = (runs: readonly DigitsRun[]) =>
  groupBy(runs, ({ level, method }) => `${showLevel(level)} ${method}`)

function claims(runs: readonly DigitsRun[]): Claim[] {
  const of = (level: Level, method: MethodName, score: (run: DigitsRun) => number) =>
    runs
      .filter((run) => run.method === method && showLevel(run.level) === showLevel(level))
      .map((run) => ({ seed: run.seed, score: score(run) }))
  const claim = (text: string, better: ReturnType<typeof of>, worse: ReturnType<typeof of>): Claim => {
    const pair = paired(better, worse)
    const orders = better.flatMap(({ seed, score }) => {
      const other = worse.find((run) => run.seed === seed)
      return other ? [score > other.score] : []
    })
    return {
      text,
      ...(orders.length > 0 ? { holds: orders.every(Boolean) } : {}),
      found: foundOf(pair, { show: percent, unit: 'points', digits: 2, factor: 100 }),
    }
  }
  const estimated = (run: DigitsRun) => run.accuracyEstimated
  return [...pruned, ...rounded].flatMap((level) => [
    ...pairs
      .filter(([method]) => (method === 'obs') === 'zeros' in level)
      .map(([better, worse]) =>
        claim(
          `${showLevel(level)}, new statistics: ${better} keeps more of the accuracy than ${worse}.`,
          of(level, better, estimated),
          of(level, worse, estimated),
        ),
      ),
    ...(['zeros' in level ? 'obs' : 'obq'] as const).map((method) =>
      claim(
        `${showLevel(level)}, ${method}: new statistics bring accuracy back.`,
        of(level, method, estimated),
        of(level, method, (run) => run.accuracy),
      ),
    ),
  ])
}

function page(result: Result<DigitsRun>, stale: boolean): string {
  const { runs } = result
  const [first] = runs
  const cells = rowsOf(runs).map((same) => [
    ...[showLevel(same[0]!.level), same[0]!.method, same[0]!.storedBits.toFixed(3)],
    showSpread(spreadOf(same.map(({ accuracy }) => accuracy)), 2, 100),
    showSpread(spreadOf(same.map(({ accuracyEstimated }) => accuracyEstimated)), 2, 100),
    String(same.length),
    [...new Set(same.map(({ commit }) => commit ?? 'unknown'))].join(', '),
  ])
  const head = [
    'level',
    'method',
    'stored bits a weight',
    'accuracy, %',
    'with new statistics, %',
    'seeds',
    'commit',
  ]
  return `# ${obcDigits.title}
${stale ? `\n${staleMark}\n` : ''}
All convolutions of ResNet-20 of the [zoo](../models.md) but the first, each on its own Gram matrix of the network in floats;
its classifier stays in floats too. ${first?.setup.images ?? 0} images of the training calibrate, ${first?.heldOut ?? 0} others test: digits of MNIST, moved, on
photographs. The floats have ${percent(first?.accuracyFloats ?? Number.NaN)}. Grids have a scale and a zero a row and search a narrower range; every convolution gets
the same share of zeros. Hessians are damped by 0.01 of their mean diagonal. New statistics: means and variances of all batch
norms are estimated anew on the calibration images, for all methods.

${claimLines(claims(runs))}

![Accuracy over the share of zeros](obc_digits_zeros.svg)
![Accuracy over bits](obc_digits_bits.svg)

${table(head, cells)}

The spread is the standard deviation over the seeds that draw the calibration images. Times are not measured.

Command: \`${commandOf('obc_digits')}\`\\
Commit that the page was made at: ${result.commit}. Every row names the commit that it ran at.\\
${machineLines(result)}
`
}

/** Methods with new statistics and without are series of their own. */
function figureOf(runs: readonly DigitsRun[], title: string) {
  const points = rowsOf(runs).flatMap((same) =>
    (['accuracyEstimated', 'accuracy'] as const).map((field) => {
      const { level, method } = same[0]!
      const { mean, low, high } = spreadOf(same.map((run) => 100 * run[field]))
      const x = 'bits' in level ? level.bits : level.zeros
      return { series: `${method}${field === 'accuracy' ? ', old statistics' : ''}`, x, y: mean, low, high }
    }),
  )
  return lineFigure(points, { x: { title }, y: { title: 'accuracy, %' } })
}

/** At the hardest levels, with the statistics of the floats. */
function lostOrders(runs: readonly DigitsRun[]): string[] {
  const of = (method: MethodName) => runs.find((run) => run.method === method)?.accuracy ?? 0
  return pairs
    .filter(([, worse]) => worse === 'magnitude' || worse === 'rtn')
    .filter(([better, worse]) => !(of(better) > of(worse) + 0.05))
    .map(
      ([better, worse]) =>
        `${better}: must keep at least 5 points more of the accuracy than ${worse}, ${percent(of(better))} against ${percent(of(worse))}`,
    )
}
