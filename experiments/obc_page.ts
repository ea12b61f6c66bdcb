/** The page and the figures of the OBC experiment, made from its record. */
import type { Spec } from 'vega'
import { type Claim, claimLines, commandOf, machineLines, type Result, staleMark } from './experiment.ts'
import { lineFigure } from './figure.ts'
import { isCalibrated } from './obc_methods.ts'
import type { ObcJob, ObcRun } from './obc_run.ts'
import { foundOf, paired } from './paired.ts'
import { type Spread, spreadOf } from './spread.ts'
import { groupBy, showSpread, table } from './table.ts'

export const groupOf = ({ network, matrices }: Pick<ObcJob, 'network' | 'matrices'>): string =>
  `${network}, ${matrices === 'all' ? 'all weights' : `weights ${matrices}`}`

export const nameOf = (job: Pick<ObcJob, 'network' | 'matrices' | 'method' | 'level'>): string =>
  `${groupOf(job)}, ${job.level}, ${job.method}`

/** From the floats: 1 - mean cosine of an encoder, else the KL. */
export const distanceOf = (run: ObcRun): number => (run.network === 'MiniLM' ? 1 - run.meanCosine : run.kl)

/** One line. */
export const showScores = (run: ObcRun): string =>
  run.network === 'MiniLM'
    ? `cosine ${run.meanCosine.toFixed(5)}, least ${run.leastCosine.toFixed(4)}, rank correlation ${run.rankCorrelation.toFixed(5)}`
    : `KL ${run.kl.toFixed(4)}, top-1 ${(100 * run.top1).toFixed(1)}%`

export interface Row {
  runs: readonly ObcRun[]
  distance: Spread
}

/** Rows in the order in which their first runs stand. */
export const summarize = (runs: readonly ObcRun[]): Row[] =>
  groupBy(runs, nameOf).map((same) => ({ runs: same, distance: spreadOf(same.map(distanceOf)) }))

/** By what it is held against, at the same level of the same weights. */
const orders: readonly [ObcJob['method'], ObcJob['method']][] = [
  ['obq', 'rtn'],
  ['obq', 'gptq'],
  ['obs', 'magnitude'],
  ['obs', 'sparsegpt'],
  ['stitched', 'obq'],
  ['stitched', 'gptq'],
]

/** What the experiment is there to show. A claim that does not hold is reported as such. */
export function claims(runs: readonly ObcRun[]): Claim[] {
  const levels = groupBy(runs, (run) => `${groupOf(run)}, ${run.level}`)
  return [
    ...levels.flatMap((same) =>
      orders.flatMap(([better, worse]) => {
        const [near, far] = [better, worse].map((method) => same.filter((run) => run.method === method))
        return near!.length > 0 && far!.length > 0 ? [orderClaim(near!, far!)] : []
      }),
    ),
    bytesClaim(levels),
  ]
}

function orderClaim(near: readonly ObcRun[], far: readonly ObcRun[]): Claim {
  const [{ method: better, level, network, ...first }, { method: worse }] = [near[0]!, far[0]!]
  const scored = (all: readonly ObcRun[]) => all.map((run) => ({ seed: run.seed, score: distanceOf(run) }))
  // What draws no samples is the same for every seed.
  const others = isCalibrated(worse)
    ? scored(far)
    : near.map(({ seed }) => ({ seed, score: distanceOf(far[0]!) }))
  const pair = paired(scored(near), others)
  const seeds = scored(near).flatMap(({ seed, score }) => {
    const other = others.find((run) => run.seed === seed)
    return other ? [score < other.score] : []
  })
  const show =
    network === 'MiniLM'
      ? {
          show: (x: number) => `1 - cosine ${(1e3 * x).toFixed(2)}e-3`,
          unit: 'thousandths',
          digits: 2,
          factor: 1e3,
        }
      : { show: (x: number) => `KL ${x.toFixed(4)}`, unit: 'nats', digits: 4 }
  return {
    text: `${groupOf({ network, ...first } as ObcRun)}, ${level}: ${better} stays nearer to the floats than ${worse}.`,
    ...(seeds.length > 0 ? { holds: seeds.every(Boolean) } : {}),
    found: foundOf(pair, { ...show, sign: -1 }),
  }
}

/** Bytes of the rows of a level, at most so far apart. */
const apart = 0.005

function bytesClaim(levels: readonly (readonly ObcRun[])[]): Claim {
  const spreads = levels.map((same) => {
    const bits = same.map(({ storedBits }) => storedBits)
    return Math.max(...bits) / Math.min(...bits) - 1
  })
  const most = Math.max(0, ...spreads)
  return {
    text: `All methods at one level of the same weights take the same bytes within ${100 * apart}%.`,
    ...(runsOf(levels) > 0 ? { holds: most <= apart } : {}),
    found: `${(100 * most).toFixed(2)}% apart at most`,
  }
}

const runsOf = (levels: readonly (readonly ObcRun[])[]) => levels.reduce((sum, { length }) => sum + length, 0)

/** The table of one group of weights. */
export function resultTable(runs: readonly ObcRun[]): string {
  const isEncoder = runs[0]!.network === 'MiniLM'
  const head = [
    ...['level', 'method', 'stored bits a weight'],
    ...(isEncoder
      ? ['mean cosine', 'least cosine', 'rank correlation of pairs']
      : ['KL', 'top-1 as the floats, %']),
    ...['processor seconds', 'seeds', 'commit'],
  ]
  const spread = (same: readonly ObcRun[], of: (run: ObcRun) => number, digits: number, factor = 1) =>
    showSpread(spreadOf(same.map(of)), digits, factor)
  const cells = summarize(runs)
    .toSorted((a, b) => levelPlace(a.runs[0]!) - levelPlace(b.runs[0]!))
    .map(({ runs: same }) => [
      ...[same[0]!.level, same[0]!.method, spread(same, ({ storedBits }) => storedBits, 3)],
      ...(isEncoder
        ? [
            spread(same, (run) => (run as EncoderRun).meanCosine, 5),
            Math.min(...same.map((run) => (run as EncoderRun).leastCosine)).toFixed(4),
            spread(same, (run) => (run as EncoderRun).rankCorrelation, 5),
          ]
        : [spread(same, distanceOf, 4), spread(same, (run) => (run as OtherRun).top1, 1, 100)]),
      spread(same, ({ processorSeconds }) => processorSeconds, 1),
      String(same.length),
      [...new Set(same.map(({ commit }) => commit ?? 'unknown'))].join(', '),
    ])
  return table(head, cells)
}

type EncoderRun = Extract<ObcRun, { network: 'MiniLM' }>
type OtherRun = Exclude<ObcRun, EncoderRun>

const levelPlace = ({ level }: ObcRun) => ['4 bits', '3 bits', '50% zeros', '2:4'].indexOf(level)

/** All tables, each with what it is of. */
export const part = (runs: readonly ObcRun[]): string =>
  groupBy(runs, groupOf)
    .map(
      (same) =>
        `${groupOf(same[0]!)}, ${(same[0]!.size / 1e6).toFixed(2)} million:\n\n${resultTable(same)}\n`,
    )
    .join('\n')

/** @param stale whether the sources differ from those that were measured. */
export function page(result: Result<ObcRun>, stale: boolean): string {
  const { runs } = result
  const stitched = runs.flatMap((run) => {
    if (!run.profile) return []
    const levels = Object.entries(run.profile).map(([level, layers]) => `${level} for ${layers}`)
    return [
      `Stitched to the bytes of ${run.level}: ${levels.join('; ')} of the ${sum(Object.values(run.profile))} layers.`,
    ]
  })
  return `# Optimal Brain Compression at equal bytes
${stale ? `\n${staleMark}\n` : ''}
OBQ against GPTQ and round to nearest, ExactOBS against SparseGPT and magnitude, on the same Gram matrices of the network in
floats: layers do not see the errors of earlier ones. Grids have a scale and a zero a row and search a narrower range; pruned
weights are stored in f16 with a bit for each place. Hessians are damped by 0.01 of their mean diagonal; GPTQ goes by
act-order with static groups. What is not named as compressed stays in floats.

${claimLines(claims(runs))}

${[...figures(runs).keys()].map((file) => `![Distance from the floats over stored bits a weight](${file})`).join('\n')}

${part(runs)}
${
  stitched.length > 0
    ? `${stitched.join('\n')}\nIts database has 2, 3, 4 and 8 bits by OBQ, each also over 2:4 by ExactOBS; errors are relative output errors of single
layers, added up, and its bytes count 8 bits for a zero.\n\n`
    : ''
}MiniLM (all-MiniLM-L6-v2): ${setupOf(runs, 'MiniLM', ({ samples, length, sentences }) => `${samples} samples of ${length} tokens of the speeches without the tested sentences; ${sentences} sentences, evenly spaced, are tested. Cosines are of the vector of a sentence to that of the floats, the least over all seeds; the rank correlation is Spearman's, of the cosines of all pairs.`)}
The six matrices of 1536 inputs take eight times the work of the other thirty (rows times columns^3): ${runs.some(({ matrices }) => matrices === 'all') ? 'they are compressed too in few rows of one seed only' : 'they stay in floats'}.

OBQ takes the weights first that cost least, so that inputs with much energy, whose [H^-1]_pp is small, tend to come last, when
few others are left to make up for them. Act-order takes them first. In the order of the file OBQ gives the codes of GPTQ.

EfficientNet-Lite0: ${setupOf(runs, 'EfficientNet-Lite0', ({ crops, tests, size }) => `${crops} random crops of 12 photographs, of a fifth of the picture or more, scaled to ${size} pixels; ${tests} crops of 6 other photographs are tested.`)}
Batch norms are folded into the convolutions before, and not estimated anew. A depthwise convolution is compressed channel by
channel, on the Gram matrix of its 9 or 25 taps. The classifier stays in floats: its 1000 rows of 1280 inputs would take as
much work as all convolutions.

SmolLM2: ${setupOf(runs, 'SmolLM2', ({ samples, length, context, windows, every }) => `${samples} × ${length} tokens of Moby Dick, ${windows} windows of ${context} tokens of the speeches (every ${every}th), as in [the experiment on GPTQ](gptq.md).\nOnly 4 of 30 blocks are compressed, since the work is rows times columns^3. Its KL is in nats a token.`)}

The spread is the standard deviation over the seeds that draw what is calibrated on; round to nearest and magnitude draw
nothing. Rows with one seed say nothing about it. Processor seconds are those of all cores, without the calibration; other programs ran beside.

Command: \`${commandOf('obc')}\`\\
Commit that the page was made at: ${result.commit}. Every row names the commit that it ran at.\\
${machineLines(result)}
`
}

const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0)

function setupOf<N extends ObcRun['network']>(
  runs: readonly ObcRun[],
  network: N,
  show: (setup: Setups[N]) => string,
): string {
  const run = runs.find((one) => one.network === network)
  return run ? show(run.setup as Setups[N]) : 'not run.'
}

type Setups = { [Run in ObcRun as Run['network']]: Run['setup'] }

const files: readonly [file: string, network: ObcRun['network'], y: string][] = [
  ['obc.svg', 'MiniLM', '1 - mean cosine to the floats (log)'],
  ['obc_images.svg', 'EfficientNet-Lite0', 'KL to the floats, nats a crop (log)'],
  ['obc_language.svg', 'SmolLM2', 'KL to the source, nats a token (log)'],
]

/** Distance over stored bits, of the networks that ran: a line for each method. */
export function figures(runs: readonly ObcRun[]): Map<string, Spec> {
  return new Map(
    files.flatMap(([file, network, title]): [string, Spec][] => {
      const own = summarize(runs.filter((run) => run.network === network && run.matrices !== 'all'))
      if (own.length === 0) return []
      const points = own.map(({ runs: same, distance: { mean, low, high } }) => ({
        ...{ series: same[0]!.method, x: same[0]!.storedBits, y: mean, low, high },
      }))
      const x = { title: `stored bits a weight, ${groupOf(own[0]!.runs[0]!)}` }
      return [[file, lineFigure(points, { x, y: { title, scale: 'log' } })]]
    }),
  )
}
