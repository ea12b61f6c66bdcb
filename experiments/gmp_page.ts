/** The page and the figures of the GMP experiment, and the claims that its runs decide. */
import type { Spec } from 'vega'
import { type Claim, claimLines, machineLines, type Result, staleMark } from './experiment.ts'
import { lineFigure, type Point } from './figure.ts'
import type { GmpJob, GmpRun, Treatment } from './gmp_training.ts'
import { imageDataText } from './image_data_text.ts'
import type { ImageTraining } from './image_training.ts'
import type { LanguageTraining } from './language_training.ts'
import { foundOf, type Pair, paired } from './paired.ts'
import type { Sizes } from './sizes.ts'
import { mean, type Spread, spreadOf } from './spread.ts'
import { groupBy, showSpread, table } from './table.ts'

export interface GmpRow extends Pick<GmpJob, 'part' | 'treatment' | 'sparsity' | 'width'> {
  score: Spread
  lossOf: Readonly<Record<string, number>>
  parameters: number
  nonZeros: number
  bytes: Sizes['bytes']
  processorSeconds: number
}

const dense = (treatment: Treatment) => treatment.startsWith('dense')

export function nameOf({ part, treatment, sparsity, width }: Omit<GmpJob, 'seed' | 'setup'>): string {
  const own = part === 'images' ? (width === 1 ? 'wide' : `${width.toFixed(3)} wide`) : `width ${width}`
  const at =
    sparsity === 0
      ? ''
      : treatment.startsWith('gradual')
        ? ` to ${percent(sparsity, 0)}`
        : ` at ${percent(sparsity, 0)}`
  return `${part}: ${own}, ${treatment}${at}`
}

export const summarize = (runs: readonly GmpRun[]): GmpRow[] =>
  groupBy(runs, nameOf).map((same) => {
    const { part, treatment, sparsity, width, parameters } = same[0]!
    const over = (of: (run: GmpRun) => number) => mean(same.map(of))
    return {
      part,
      treatment,
      sparsity,
      width,
      parameters,
      score: spreadOf(same.map(({ score }) => score)),
      lossOf: Object.fromEntries(
        Object.keys(same[0]!.lossOf ?? {}).map((name) => [name, over(({ lossOf }) => lossOf![name]!)]),
      ),
      nonZeros: over(({ nonZeros }) => nonZeros),
      bytes: {
        dense: over(({ bytes }) => bytes.dense),
        bitmask: over(({ bytes }) => bytes.bitmask),
        rows: over(({ bytes }) => bytes.rows),
      },
      processorSeconds: over(({ processorSeconds }) => processorSeconds),
    }
  })

const percent = (value: number, digits = 2) => `${(100 * value).toFixed(digits)}%`

/** Two treatments at one sparsity over their common seeds; undefined where there is none. */
export function compared(
  runs: readonly GmpRun[],
  [better, worse]: readonly [Treatment, Treatment],
  { part, sparsity }: Pick<GmpJob, 'part' | 'sparsity'>,
): Pair | undefined {
  const [first, second] = [better, worse].map((treatment) =>
    runs.filter((run) => run.treatment === treatment && run.part === part && run.sparsity === sparsity),
  )
  return paired(first!, second!)
}

export function claims({ runs }: Pick<Result<GmpRun>, 'runs'>): Claim[] {
  const images = (text: string, pair: [Treatment, Treatment], sparsity: number, points = 0): Claim => {
    const found = compared(runs, pair, { part: 'images', sparsity })
    return {
      text,
      ...(found && { holds: 100 * found.difference.mean >= points }),
      found: foundOf(found, { show: percent, unit: 'points', digits: 2, factor: 100 }),
    }
  }
  const language = compared(runs, ['gradual', 'dense, as many weights'], { part: 'language', sparsity: 0.8 })
  return [
    images(
      'At 95% gradual pruning is more accurate than one shot at the end by at least 10 points, on average over seeds.',
      ['gradual', 'one shot at the end'],
      0.95,
      10,
    ),
    images(
      'At 95% gradual pruning is at least as accurate as one shot half-way with the other half to fine-tune, on average over seeds.',
      ['gradual', 'one shot half-way, then fine-tuning'],
      0.95,
    ),
    ...[0.8, 0.9, 0.95, 0.98].map((sparsity) =>
      images(
        `The wide network at ${percent(sparsity, 0)} is at least as accurate as the dense one with as many weights, on average over seeds.`,
        ['gradual', 'dense, as many weights'],
        sparsity,
      ),
    ),
    {
      text: 'The loss of the wide language model at 80% is below that of the dense one with as many weights by at least 0.02 nats, on average over seeds.',
      ...(language && { holds: -language.difference.mean >= 0.02 }),
      found: foundOf(language, { show: (loss) => loss.toFixed(4), unit: 'nats', digits: 4, sign: -1 }),
    },
  ]
}

const whole = (value: number) => Math.round(value).toLocaleString('en')
const kilobytes = (value: number) => (value / 1000).toFixed(0)

function rowsTable(rows: readonly GmpRow[], part: GmpJob['part']): string {
  const own = rows.filter((row) => row.part === part)
  const parts = Object.keys(own[0]?.lossOf ?? {})
  const lines = own.map((row) => [
    part === 'images' ? (row.width === 1 ? 'wide' : row.width.toFixed(3)) : String(row.width),
    row.treatment,
    row.sparsity === 0 ? '' : percent(row.sparsity, 0),
    part === 'images' ? showSpread(row.score, 2, 100) : showSpread(row.score, 4),
    ...parts.map((name) => row.lossOf[name]!.toFixed(3)),
    whole(row.nonZeros),
    kilobytes(row.bytes.bitmask),
    kilobytes(row.bytes.rows),
    String(row.score.seeds),
    row.processorSeconds.toFixed(0),
  ])
  return table(
    [
      'width',
      'training',
      'sparsity',
      part === 'images' ? 'held-out accuracy, %' : 'held-out loss, nats a token',
      ...parts,
      'non-zeros',
      'kB as bitmask',
      'kB as rows',
      'seeds',
      'processor seconds a run',
    ],
    lines,
  )
}

export function part(result: Result<GmpRun>): string {
  const rows = summarize(result.runs)
  return `${claimLines(claims(result))}

${rowsTable(rows, 'images')}

A language model:

${rowsTable(rows, 'language')}

${machineLines(result)}\\`
}

export function page(result: Result<GmpRun>, stale: boolean): string {
  const rows = summarize(result.runs)
  const [image, text] = ['images', 'language'].map((part) => result.runs.find((run) => run.part === part))
  const [images, language] = [
    image?.setup as ImageTraining | undefined,
    text?.setup as LanguageTraining | undefined,
  ]
  return `# Gradual magnitude pruning
${stale ? `\n${staleMark}\n` : ''}
${claimLines(claims(result))}

## Digits

${images ? `A LeNet-like network learns ${imageDataText[images.data]}. Each run sees ${image!.images!.toLocaleString('en')} images (${images.epochs} epochs in batches of ${images.batch}) with Adam at ${images.rate}.` : 'Not run yet.'}
The first convolution and the classifier stay dense, and so do biases. Gradual masks change from 10% of the steps to 75%.
A dense network with as many weights is the wide one with all widths scaled down, the smallest with at least as many
numbers as the wide one keeps.

${rowsTable(rows, 'images')}

![Accuracy over numbers that are not zero](gmp.svg)

## A language model

${language ? `Llamas of ${language.layers} layers, ${language.heads} heads, SwiGLU of twice the width and a tied embedding of ${language.vocabulary} tokens see ${text!.tokens!.toLocaleString('en')} tokens each (${language.steps} steps of ${language.batch} × ${language.length}): State of the Union addresses and Moby Dick. All matrices are pruned but the embedding, which is the head too; one row prunes it as well, as the paper does.` : 'Not run yet.'}
The loss is the mean over the eras of the held-out text: addresses to 1860, to 1913, to 1945 and since, and the novel.

${rowsTable(rows, 'language')}

![Loss over numbers that are not zero](gmp_language.svg)

![Loss over bytes](gmp_bytes.svg)

± is the standard deviation over seeds, in a claim that of the difference. Processor seconds are those of all threads. A seed decides weights and batches; the data stay. Sizes have 16 bits a value: as
a bitmask with one more bit for every weight of a pruned tensor, or as rows with relative columns in the width of gaps that
is smallest. Dense networks need neither. All models take as many steps at the same rate; longer trainings may differ.

Command: \`${result.command}\`\\
Commit that the page was made at: ${result.commit}\\
${machineLines(result)}
`
}

export function figures({ runs }: Pick<Result<GmpRun>, 'runs'>): ReadonlyMap<string, Spec> {
  const rows = summarize(runs)
  const accuracy = 'held-out accuracy, %, lowest to highest seed'
  const loss = 'held-out loss, nats a token, lowest to highest seed'
  const points = (part: GmpJob['part'], factor: number, x: (row: GmpRow) => number): Point[] =>
    rows
      .filter((row) => row.part === part)
      .map((row) => ({
        series: dense(row.treatment) ? 'dense' : row.treatment,
        x: x(row),
        y: factor * row.score.mean,
        low: factor * row.score.low,
        high: factor * row.score.high,
      }))
  const nonZeros = { title: 'numbers that are not zero (log)', scale: 'log' } as const
  const bytes = ['bitmask', 'rows'] as const
  return new Map([
    [
      'gmp.svg',
      lineFigure(
        points('images', 100, (row) => row.nonZeros),
        { x: nonZeros, y: { title: accuracy } },
      ),
    ],
    [
      'gmp_language.svg',
      lineFigure(
        points('language', 1, (row) => row.nonZeros),
        { x: nonZeros, y: { title: loss } },
      ),
    ],
    [
      'gmp_bytes.svg',
      lineFigure(
        bytes.flatMap((form) =>
          points('language', 1, (row) => row.bytes[form] / 1000)
            .filter(({ series }) => series !== 'dense' || form === 'bitmask')
            .map((point) =>
              point.series === 'dense' ? point : { ...point, series: `${point.series}, ${form}` },
            ),
        ),
        { x: { title: 'kB, 16 bits a value (log)', scale: 'log' }, y: { title: loss } },
      ),
    ],
  ])
}
