/**
 * Every quantiser at 4, 3 and 2 bits on float models, at as many stored bits as groups of 64 take: which one loses least,
 * on a model with planted outlier channels too, and whether a larger model at fewer bits beats a smaller one at more.
 *
 * arXiv:2502.13178 asks the same of models of 7 billion weights and more.
 */
import type { WeightStep } from '#src/run/weight_step.ts'
import type { Claim } from './experiment.ts'
import { sources as gptqSources } from './gptq_result.ts'
import { hashOf } from './machine.ts'
import { oneSeed, oneShotExperiment, type Row, step } from './one_shot_experiment.ts'
import type { OneShotRun } from './one_shot_measure.ts'
import { lostOrders, methodsOf, nameOf, ordered } from './one_shot_page.ts'
import { withOutliers } from './planted_outliers.ts'
import { bestAt, bitsFigure, frontTable, rankTables, sizeFigure, sizeTable } from './ptq_ranks.ts'
import { root } from './repository.ts'

export interface BenchmarkMethod {
  /** What its literature calls it: salience, rotation, compensation, and so on. */
  family: string
  /** Steps that store about as many bits as groups of 64 do. */
  steps(bits: Bits): readonly WeightStep[]
  /** Files whose change makes its runs stale, and no other's. */
  sources: readonly string[]
  /** A run takes minutes: on the two main models alone. @default false */
  slow?: boolean
}

export const widths = [4, 3, 2] as const
export type Bits = (typeof widths)[number]

const groupSize = 64
const sizeFile = 'ptq_benchmark_size.svg'
const bothFile = 'ptq_benchmark.svg'

const rotation = ['src/quantize/hadamard_rotation.ts', 'src/nn/hadamard.ts']
const salience = ['awq', 'awq_stage', 'scale_search', 'clip_search'].map((name) => `src/quantize/${name}.ts`)

/** A method more is an entry more. */
export const methods: readonly BenchmarkMethod[] = [
  { family: 'rounding', steps: (bits) => [step('rtn', { bits, groupSize })], sources: [] },
  { family: 'compensation', steps: (bits) => [step('gptq', { bits, groupSize })], sources: [] },
  {
    family: 'compensation',
    steps: (bits) => [step('spqr', { bits, groupSize, outlierThreshold: 1e6 })],
    sources: ['src/quantize/spqr.ts', 'src/nn/spqr_sweep.ts', 'native/src/spqr_rule.rs'],
  },
  {
    family: 'allocation',
    // Packing and ranges take 0.3 bits.
    steps: (bits) => [step('baq', { bits: { 4: 3.95, 3: 3.03, 2: 2.1 }[bits] })],
    sources: ['src/quantize/baq.ts', 'src/quantize/level_allocation.ts', 'native/src/level_rule.rs'],
  },
  {
    family: 'rotation',
    steps: (bits) => [step('quip', { bits })],
    sources: ['src/quantize/quip.ts', 'src/quantize/ldlq.ts', 'src/nn/values/rotation_sizes.ts'],
  },
  {
    family: 'rotation',
    steps: (bits) => [step('hadamard'), step('rtn', { bits, groupSize })],
    sources: rotation,
  },
  {
    family: 'rotation and compensation',
    steps: (bits) => [step('hadamard'), step('gptq', { bits, groupSize })],
    sources: rotation,
  },
  { family: 'salience', steps: (bits) => [step('awq'), step('rtn', { bits, groupSize })], sources: salience },
  {
    family: 'salience and compensation',
    steps: (bits) => [step('awq'), step('gptq', { bits, groupSize })],
    sources: salience,
  },
  {
    family: 'salience',
    steps: (bits) => [step('smoothquant'), step('rtn', { bits, groupSize })],
    sources: ['src/quantize/smoothquant.ts'],
  },
  {
    family: 'codebooks',
    steps: (bits) => [step('aqlm', { books: bits, bookBits: 7 })],
    sources: ['src/quantize/aqlm.ts', 'src/quantize/codebook_steps.ts', 'src/nn/additive_codebooks.ts'],
    slow: true,
  },
  {
    family: 'optimisation',
    steps: (bits) => [step('omniquant', { bits, groupSize })],
    sources: ['src/quantize/omniquant.ts', 'src/nn/clipped_grid.ts'],
    slow: true,
  },
]

const baselines = ['rtn', 'gptq']
/** Of pages that are not named for their method. */
const ownNames: Readonly<Record<string, string>> = { rotation: 'hadamard' }

const [nearest, compensated] = methods as [BenchmarkMethod, BenchmarkMethod]
const transformed = methods.filter(({ steps }) => /\+ rtn$/.test(methodsOf(steps(3))))
const main = ['lm-6m', 'pare-4m']
const planted = `lm-6m${withOutliers}`

const rowsAt = (model: string, of: readonly BenchmarkMethod[], at: readonly Bits[] = [2, 3, 4]): Row[] =>
  at.flatMap((bits) => of.map(({ steps }) => ({ model, steps: steps(bits) })))
const fast = methods.filter(({ slow }) => !slow)
const slow = methods.filter(({ slow }) => slow)

export const ptqBenchmark = oneShotExperiment({
  name: 'ptq_benchmark',
  title: 'Quantisers at equal stored bits',
  sources: ['experiments/planted_outliers.ts', ...gptqSources],
  systems: ['quip', 'omniquant', 'awq', 'smoothquant', 'rotation'],
  shown,
  rows: [
    ...main.flatMap((model) => rowsAt(model, fast)),
    ...rowsAt(planted, fast),
    ...rowsAt('lm-2m', [nearest, compensated]),
    // Its weights lie on a 4-bit grid.
    ...oneSeed(rowsAt('smollm2', fast, [3, 2])),
    ...main.flatMap((model) => rowsAt(model, slow)),
  ],
  codeOf: codeOfSteps,
  quick: [nearest, compensated].flatMap(({ steps }) => [{ model: 'pare-4m', steps: steps(2) }]),
  claims,
  failures: (runs) =>
    lostOrders(runs, [
      { lower: nameOf(compensated.steps(2)), higher: nameOf(nearest.steps(2)), ratio: 0.85 },
    ]),
  series: ({ steps }) => methodsOf(steps),
  extra: (runs) =>
    [
      ...changed(runs),
      ...[rankTables(runs), frontTable(runs), sizeTable(runs)],
      `![Perplexity over kB](${sizeFile})`,
      `![KL over stored bits of both models](${bothFile})`,
    ].join('\n\n'),
  more: (runs) =>
    new Map([
      [bothFile, bitsFigure(runs.filter(({ model }) => main.includes(model)))],
      [sizeFile, sizeFigure(runs)],
    ]),
  remarks: `Ranked are the methods that store at most 3% more than round to nearest with groups of ${groupSize}; a range of ranks is that over the
seeds. All of them read the same text and as many tokens of it, and compress the same weights. AQLM takes what its codebooks
leave: fewer bits than the others at 2 bits.

Every 64th channel of the norms of "lm-6m with outliers" is 16 times as large and the weights behind it as much smaller: the
same function, whose inputs have outliers as those of large models do. Rotations and SmoothQuant undo that scaling, so that they
give about what they give without it.`,
})

function codeOfSteps(steps: readonly WeightStep[]): string {
  const { sources = [] } = methods.find((method) => methodsOf(method.steps(4)) === methodsOf(steps)) ?? {}
  return hashOf(root, sources).slice(0, 12)
}

/** A method's own files may change without those of the others. */
function changed(runs: readonly OneShotRun[]): string[] {
  const old = runs.filter((run) => (run as { code?: string }).code !== codeOfSteps(run.steps))
  const names = [...new Set(old.map(({ steps }) => methodsOf(steps)))]
  return names.length === 0 ? [] : [`> Stale: the code of ${names.join(', ')} changed after it was measured.`]
}

/** Those of its method, with those that they are held against. */
function shown(runs: readonly OneShotRun[], system: string): readonly OneShotRun[] {
  const own = ownNames[system] ?? system
  const isOwn = ({ steps }: OneShotRun) => steps.some(({ method }) => method === own)
  if (!runs.some(isOwn)) return []
  const models = new Set(runs.filter(isOwn).map(({ model }) => model))
  return runs.filter(
    (run) => isOwn(run) || (models.has(run.model) && baselines.includes(methodsOf(run.steps))),
  )
}

function claims(runs: readonly OneShotRun[]): Claim[] {
  return [...main, planted].flatMap((model) => [
    all(
      `${model}: GPTQ loses less than round to nearest at every width.`,
      widths.map((bits) => ordersOf(runs, model, [compensated.steps(bits), nearest.steps(bits)])),
    ),
    all(
      `${model}: every method loses least at 4 bits, more at 3 and most at 2.`,
      methods.map(({ steps }) => ordersOf(runs, model, widths.map(steps))),
    ),
    all(
      `${model}: each transform before rounding to nearest loses less than rounding alone, at 3 bits.`,
      transformed.map(({ steps }) => ordersOf(runs, model, [steps(3), nearest.steps(3)])),
    ),
    ...widths.map((bits) => bestAt(runs, model, bits)),
  ])
}

const ordersOf = (
  runs: readonly OneShotRun[],
  model: string,
  steps: readonly (readonly WeightStep[])[],
): Claim => ordered(runs, { text: '', model, names: steps.map(nameOf) })

/** What of the parts is decided. */
function all(text: string, parts: readonly Claim[]): Claim {
  const decided = parts.filter(({ holds }) => holds !== undefined)
  if (decided.length === 0) return { text, found: 'not run' }
  const missed = decided.filter(({ holds }) => !holds)
  const found = (missed.length > 0 ? missed : decided).map(({ found }) => found).join('; ')
  // What did not run may still be against it.
  if (missed.length === 0 && decided.length < parts.length)
    return { text, found: `${decided.length} of ${parts.length} orders ran and hold: ${found}` }
  return { text, holds: missed.length === 0, found }
}
