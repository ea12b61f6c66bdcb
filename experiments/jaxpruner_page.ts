/** The page and the figures of the JaxPruner experiment, and the claims that its runs decide. */
import type { Spec } from 'vega'
import { type Claim, claimLines, commandOf, machineLines, type Result, staleMark } from './experiment.ts'
import { lineFigure } from './figure.ts'
import type { ImageTraining } from './image_training.ts'
import type { JaxprunerJob, JaxprunerRun } from './jaxpruner_training.ts'
import { mean, type Spread, spreadOf } from './spread.ts'
import { groupBy, showSpread, table } from './table.ts'

export interface JaxprunerRow extends Pick<JaxprunerJob, 'part' | 'algorithm' | 'distribution' | 'sparsity'> {
  score: Spread
  measured: Spread
  seconds: number
}

export const nameOf = ({
  part,
  algorithm,
  distribution,
  sparsity,
}: Omit<JaxprunerJob, 'seed' | 'setup'>): string =>
  `${part}: ${algorithm}${distribution === 'none' ? '' : `, ${distribution}, ${100 * sparsity}%`}`

export const summarize = (runs: readonly JaxprunerRun[]): JaxprunerRow[] =>
  groupBy(runs, nameOf).map((same) => {
    const { part, algorithm, distribution, sparsity } = same[0]!
    return {
      part,
      algorithm,
      distribution,
      sparsity,
      score: spreadOf(same.map(({ score }) => score)),
      measured: spreadOf(same.map(({ measuredSparsity }) => measuredSparsity)),
      seconds: mean(same.map(({ seconds }) => seconds)),
    }
  })

/** Mean accuracy over seeds. */
export const accuracyOf = (
  runs: readonly JaxprunerRun[],
  algorithm: string,
  distribution: JaxprunerJob['distribution'],
  sparsity: number,
): number | undefined =>
  summarize(runs).find(
    (row) =>
      row.part === 'images' &&
      row.algorithm === algorithm &&
      row.distribution === distribution &&
      row.sparsity === sparsity,
  )?.score.mean

const percent = (value: number) => `${(100 * value).toFixed(2)}%`

/** The order that the systems page asks for, at 95% with ERK. */
export function claims({ runs }: Pick<Result<JaxprunerRun>, 'runs'>): Claim[] {
  const claim = (better: string, worse: string, points: number): Claim => {
    const [a, b] = [better, worse].map((name) => accuracyOf(runs, name, 'erk', 0.95))
    const text =
      points === 0
        ? `At 95% with ERK ${better} is at least as accurate as ${worse}, on average over seeds.`
        : `At 95% with ERK ${better} is more accurate than ${worse} by at least ${points} points, on average over seeds.`
    if (a === undefined || b === undefined) return { text, found: 'not run' }
    return { text, holds: 100 * (a - b) >= points, found: `${percent(a)} against ${percent(b)}` }
  }
  return [
    claim('magnitude', 'rigl', 0),
    claim('rigl', 'static_sparse', 0),
    claim('static_sparse', 'random', 0),
    claim('magnitude', 'random', 2),
  ]
}

/** One row for each algorithm and distribution, one column for each sparsity. */
function imageTable(rows: readonly JaxprunerRow[]): string {
  const images = rows.filter(({ part }) => part === 'images')
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
        String(Math.max(...same.map(({ score }) => score.seeds))),
        mean(same.map(({ seconds }) => seconds)).toFixed(0),
      ]
    },
  )
  return table(
    ['algorithm', 'distribution', ...sparsities.map((s) => `at ${100 * s}%`), 'seeds', 'seconds a run'],
    lines,
  )
}

function languageTable(rows: readonly JaxprunerRow[]): string {
  const lines = rows
    .filter(({ part }) => part === 'language')
    .map(({ algorithm, distribution, score, measured, seconds }) => [
      algorithm,
      distribution === 'none' ? '' : distribution,
      showSpread(score, 4),
      showSpread(measured, 2, 100),
      String(score.seeds),
      seconds.toFixed(0),
    ])
  return table(
    [
      'algorithm',
      'distribution',
      'held-out loss, nats a token',
      'measured sparsity, %',
      'seeds',
      'seconds a run',
    ],
    lines,
  )
}

export function part(result: Result<JaxprunerRun>): string {
  const rows = summarize(result.runs)
  return `Accuracy on held-out images in percent, with the standard deviation over seeds, and in brackets the measured sparsity
of the weight matrices in percent.

${imageTable(rows)}

A language model of ${languageSize(result.runs)} at 80%:

${languageTable(rows)}

${machineLines(result)}\\`
}

const languageSize = (runs: readonly JaxprunerRun[]): string => {
  const run = runs.find(({ part }) => part === 'language')
  return run
    ? `${(run.parameters / 1e6).toFixed(2)} M parameters after ${(run.tokens! / 1e3).toFixed(0)},000 tokens`
    : 'the llama family (not run yet)'
}

export function page(result: Result<JaxprunerRun>, stale: boolean): string {
  const rows = summarize(result.runs)
  const image = result.runs.find(({ part }) => part === 'images')
  const [setup, text] = [
    image?.setup as ImageTraining | undefined,
    result.runs.find(({ part }) => part === 'language'),
  ]
  return `# Eleven ways to train sparse networks
${stale ? `\n${staleMark}\n` : ''}
An MLP 784-300-100-10 learns digits of MNIST in white on pieces of photographs: 8,000 for training, 2,000 held out, and
no digit or photograph on both sides. ${setup ? `Each run sees ${image!.images!.toLocaleString('en')} images (${setup.epochs} epochs in batches of ${setup.batch}) with Adam at ${setup.rate}.` : ''}
Masks of pruning methods change from 10% of the steps to 75%; SET and RigL move connections up to there, at first 30%.
Biases stay dense. no_prune is the dense training, whose bits are those of the optimiser alone.

${claimLines(claims(result))}

${imageTable(rows)}

The accuracy is that on the held-out images in percent, ± the standard deviation over seeds. In brackets stands the
measured sparsity of the weight matrices in percent. A seed decides weights, batches and random masks; the data stay.

![Accuracy over sparsity](jaxpruner.svg)

## A language model at 80%

${text ? `A llama of ${(text.parameters / 1e6).toFixed(2)} M parameters, tied embedding included, sees ${text.tokens!.toLocaleString('en')} tokens of State of the Union addresses and Moby Dick. All matrices are pruned, also the embedding.` : 'Not run yet.'}
The loss is the mean over old addresses, modern ones and the novel, on text that is held out.

${languageTable(rows)}

Digits that are moved and coloured, as the GMP experiment has them, are out of reach of such an MLP with 8,000 images.
Orders at other sizes, on other data and in longer trainings may differ; the loss of the language model is that of a short
training.

Command: \`${commandOf('jaxpruner')}\`\\
Commit that the page was made at: ${result.commit}\\
${machineLines(result)}
`
}

/** Accuracy over sparsity, with ERK where an algorithm takes a distribution. */
export function figures({ runs }: Pick<Result<JaxprunerRun>, 'runs'>): ReadonlyMap<string, Spec> {
  const points = summarize(runs)
    .filter(
      ({ part, distribution, sparsity }) => part === 'images' && distribution !== 'uniform' && sparsity > 0,
    )
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
