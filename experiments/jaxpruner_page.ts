/** The page and the figures of the JaxPruner experiment, and the claims that its runs decide. */
import type { Spec } from 'vega'
import { type Claim, claimLines, machineLines, type Result, staleMark } from './experiment.ts'
import { lineFigure } from './figure.ts'
import { imageDataText } from './image_data_text.ts'
import type { ImageTraining } from './image_training.ts'
import type { Algorithm, JaxprunerJob, JaxprunerRun } from './jaxpruner_training.ts'
import { foundOf, type Pair, paired } from './paired.ts'
import { mean, type Spread, spreadOf } from './spread.ts'
import { groupBy, showSpread, table } from './table.ts'

export interface JaxprunerRow extends Pick<JaxprunerJob, 'part' | 'algorithm' | 'distribution' | 'sparsity'> {
  /** Of images. */
  epochs?: number
  score: Spread
  measured: Spread
  processorSeconds: number
}

const epochsOf = ({ setup }: Pick<JaxprunerJob, 'setup'>): number | undefined =>
  'epochs' in setup ? setup.epochs : undefined

export function nameOf(job: Omit<JaxprunerJob, 'seed'>): string {
  const { part, algorithm, distribution, sparsity } = job
  const epochs = epochsOf(job)
  return `${part}${epochs === undefined ? '' : `, ${epochs} epochs`}: ${algorithm}${distribution === 'none' ? '' : `, ${distribution}, ${100 * sparsity}%`}`
}

export const summarize = (runs: readonly JaxprunerRun[]): JaxprunerRow[] =>
  groupBy(runs, nameOf).map((same) => {
    const { part, algorithm, distribution, sparsity } = same[0]!
    const epochs = epochsOf(same[0]!)
    return {
      part,
      algorithm,
      distribution,
      sparsity,
      ...(epochs !== undefined && { epochs }),
      score: spreadOf(same.map(({ score }) => score)),
      measured: spreadOf(same.map(({ measuredSparsity }) => measuredSparsity)),
      processorSeconds: mean(same.map(({ processorSeconds }) => processorSeconds)),
    }
  })

/** The trainings on images by their length, the longest first. */
function imageLengths(runs: readonly JaxprunerRun[]): JaxprunerRun[][] {
  const images = runs.filter(({ part }) => part === 'images')
  return groupBy(images, (run) => String(epochsOf(run))).sort(([a], [b]) => epochsOf(b!)! - epochsOf(a!)!)
}

const percent = (value: number) => `${(100 * value).toFixed(2)}%`

/** Two algorithms in the longest training on images at 95% with ERK, over their common seeds; undefined where there is none. */
export function compared(
  runs: readonly JaxprunerRun[],
  better: Algorithm,
  worse: Algorithm,
): Pair | undefined {
  const [first, second] = [better, worse].map((name) =>
    (imageLengths(runs)[0] ?? []).filter(
      ({ algorithm, distribution, sparsity }) =>
        algorithm === name && distribution === 'erk' && sparsity === 0.95,
    ),
  )
  return paired(first!, second!)
}

/** The order of JaxPruner's own tables, at 95% with ERK. */
export function claims({ runs }: Pick<Result<JaxprunerRun>, 'runs'>): Claim[] {
  const claim = (better: Algorithm, worse: Algorithm, points: number): Claim => {
    const found = compared(runs, better, worse)
    return {
      text:
        points === 0
          ? `At 95% with ERK ${better} is at least as accurate as ${worse}, on average over seeds.`
          : `At 95% with ERK ${better} is more accurate than ${worse} by at least ${points} points, on average over seeds.`,
      ...(found && { holds: 100 * found.difference.mean >= points }),
      found: foundOf(found, { show: percent, unit: 'points', digits: 2, factor: 100 }),
    }
  }
  return [
    claim('magnitude', 'rigl', 0),
    claim('rigl', 'static_sparse', 0),
    claim('static_sparse', 'random', 0),
    claim('magnitude', 'random', 2),
  ]
}

/** One row for each algorithm and distribution, one column for each sparsity. */
function imageTable(runs: readonly JaxprunerRun[]): string {
  const images = summarize(runs)
  const sparsities = [...new Set(images.map(({ sparsity }) => sparsity))].filter((s) => s > 0).sort()
  const cell = (row: JaxprunerRow | undefined) =>
    row ? `${showSpread(row.score, 2, 100)} (${showSpread(row.measured, 2, 100)})` : ''
  const lines = groupBy(images, ({ algorithm, distribution }) => `${algorithm} ${distribution}`).map(
    (same) => {
      const { algorithm, distribution } = same[0]!
      const dense = same.find(({ sparsity }) => sparsity === 0)
      return [
        algorithm,
        dense ? '' : distribution,
        ...sparsities.map((s) => cell(dense ?? same.find(({ sparsity }) => sparsity === s))),
        String(Math.min(...same.map(({ score }) => score.seeds))),
        mean(same.map(({ processorSeconds }) => processorSeconds)).toFixed(0),
      ]
    },
  )
  return table(
    [
      'algorithm',
      'distribution',
      ...sparsities.map((s) => `at ${100 * s}%`),
      'seeds',
      'processor seconds a run',
    ],
    lines,
  )
}

function languageTable(rows: readonly JaxprunerRow[]): string {
  const lines = rows
    .filter(({ part }) => part === 'language')
    .map(({ algorithm, distribution, score, measured, processorSeconds }) => [
      algorithm,
      distribution === 'none' ? '' : distribution,
      showSpread(score, 4),
      showSpread(measured, 2, 100),
      String(score.seeds),
      processorSeconds.toFixed(0),
    ])
  return table(
    [
      'algorithm',
      'distribution',
      'held-out loss, nats a token',
      'measured sparsity, %',
      'seeds',
      'processor seconds a run',
    ],
    lines,
  )
}

export function part(result: Result<JaxprunerRun>): string {
  const [longest = []] = imageLengths(result.runs)
  return `${claimLines(claims(result))}

Accuracy on held-out images in percent${longest[0] ? ` after ${epochsOf(longest[0])} epochs` : ''}, with the standard deviation over seeds, and in brackets the measured sparsity of the
weight matrices in percent.

${imageTable(longest)}

A language model of ${languageSize(result.runs)} at 80%:

${languageTable(summarize(result.runs))}

${machineLines(result)}\\`
}

const languageSize = (runs: readonly JaxprunerRun[]): string => {
  const run = runs.find(({ part }) => part === 'language')
  return run
    ? `${(run.parameters / 1e6).toFixed(2)} M parameters after ${(run.tokens! / 1e3).toFixed(0)},000 tokens`
    : 'the llama family (not run yet)'
}

/** What trainings of one length saw, and what they gave. */
function imagePart(runs: readonly JaxprunerRun[]): string {
  const [run] = runs
  if (!run) return 'Not run yet.'
  const { data, epochs, batch, rate } = run.setup as ImageTraining
  return `An MLP with hidden layers of 300 and 100 learns ${imageDataText[data]}. Each run sees ${run.images!.toLocaleString('en')} images (${epochs} epochs in batches of ${batch}) with Adam at ${rate}.

${imageTable(runs)}`
}

export function page(result: Result<JaxprunerRun>, stale: boolean): string {
  const [longest = [], ...shorter] = imageLengths(result.runs)
  const text = result.runs.find(({ part }) => part === 'language')
  return `# Eleven ways to train sparse networks
${stale ? `\n${staleMark}\n` : ''}
Masks of pruning methods change from 10% of the steps to 75%; SET and RigL move connections up to there, at first 30%.
Biases stay dense. no_prune is the dense training, whose bits are those of the optimiser alone.

${claimLines(claims(result))}

${imagePart(longest)}

The accuracy is that on the held-out images in percent. In brackets stands the measured sparsity of the weight matrices
in percent. A seed decides weights, batches and random masks; the data stay.

![Accuracy over sparsity](jaxpruner.svg)
${shorter.map((runs) => `\n## The same with ${epochsOf(runs[0]!)} epochs\n\n${claimLines(claims({ runs }))}\n\n${imagePart(runs)}\n`).join('')}
## A language model at 80%

${text ? `A llama of ${(text.parameters / 1e6).toFixed(2)} M parameters, tied embedding included, sees ${text.tokens!.toLocaleString('en')} tokens of State of the Union addresses and Moby Dick. All matrices are pruned, also the embedding.` : 'Not run yet.'}
The loss is the mean over the eras of the held-out text: addresses to 1860, to 1913, to 1945 and since, and the novel.

${languageTable(summarize(result.runs))}

± is the standard deviation over seeds, in a claim that of the difference. Processor seconds are those of all threads.
Orders at other sizes, on other data and in longer trainings may differ; the loss of the language model is that of a short
training.

Command: \`${result.command}\`\\
Commit that the page was made at: ${result.commit}\\
${machineLines(result)}
`
}

/** Accuracy over sparsity in the longest training, with ERK where an algorithm takes a distribution. */
export function figures({ runs }: Pick<Result<JaxprunerRun>, 'runs'>): ReadonlyMap<string, Spec> {
  const points = summarize(imageLengths(runs)[0] ?? [])
    .filter(({ distribution, sparsity }) => distribution !== 'uniform' && sparsity > 0)
    .map(({ algorithm, sparsity, score }) => ({
      series: algorithm,
      x: 100 * sparsity,
      y: 100 * score.mean,
      low: 100 * score.low,
      high: 100 * score.high,
    }))
  const figure = lineFigure(points, {
    x: { title: 'sparsity, %' },
    y: { title: 'held-out accuracy, %, lowest to highest seed' },
  })
  return new Map([['jaxpruner.svg', figure]])
}
