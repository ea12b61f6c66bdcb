/** What held-out text takes in each code: runs, table, claims, page and figure. */
import type { Spec } from 'vega'
import { type Claim, claimLines, type Job, type Result, type Stamp, staleMark } from './experiment.ts'

export const codes = ['gzip -9', 'xz -9e', 'xz -9e after the training text', '5-gram', 'pare-4m'] as const
export type Code = (typeof codes)[number]

export interface BitsJob extends Job {
  code: Code
  /** An era, or all of them. */
  text: string
  /** Hashes of the model's files; empty where the code reads none. */
  tokens: string
  weights: string
}

export interface BitsRun extends BitsJob, Stamp {
  eras: readonly { era: string; documents: number; bytes: number }[]
  training: { documents: number; bytes: number }
  /** By era. */
  bits: readonly number[]
  /** Of all eras together: for gzip and xz they are one text then. */
  bitsTotal: number
  /** Tokens that were scored. */
  predictions?: number
  seconds: number
}

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0)
const fixed = (value: number) => value.toFixed(3)
const thousands = (value: number) => value.toLocaleString('en')
const bytesOf = ({ eras }: BitsRun) => total(eras.map(({ bytes }) => bytes))

/** Of all eras. */
export const perByte = (run: BitsRun): number => run.bitsTotal / bytesOf(run)
const perByteOf = (run: BitsRun, era: number) => run.bits[era]! / run.eras[era]!.bytes

/** Markdown: one code a row, one era a column, bits a byte. */
export function bitsTable(runs: readonly BitsRun[]): string {
  const { eras } = runs[0]!
  const cells = runs.map((run) => [
    run.code,
    run.code === 'gzip -9' || run.code === 'xz -9e' ? 'no' : 'yes',
    ...eras.map((_, i) => fixed(perByteOf(run, i))),
    fixed(perByte(run)),
  ])
  const head = ['code', 'knows the training text', ...eras.map(({ era }) => era), 'all']
  return [head, head.map((_, i) => (i < 2 ? '---' : '---:')), ...cells]
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n')
}

/** Whether the model takes the fewest bits, over all text and in every era. */
export function claims(runs: readonly BitsRun[]): Claim[] {
  const model = runs.find(({ code }) => code === 'pare-4m')
  const others = runs.filter((run) => run !== model)
  const texts = ['The model takes the fewest bits of all codes.', 'It does so in every era.'] as const
  if (!model || others.length < codes.length - 1)
    return texts.map((text) => ({ text, found: 'not all codes ran' }))
  const best = (of: (run: BitsRun) => number) => others.reduce((a, b) => (of(b) < of(a) ? b : a))
  const next = best(perByte)
  const share = perByte(model) / perByte(next) - 1
  const lost = model.eras.filter(
    (_, i) =>
      perByteOf(
        best((run) => perByteOf(run, i)),
        i,
      ) <= perByteOf(model, i),
  )
  return [
    {
      text: texts[0],
      holds: share < 0,
      found: `${fixed(perByte(model))} bits a byte, ${(100 * Math.abs(share)).toFixed(1)}% ${share < 0 ? 'fewer' : 'more'} than ${next.code}, the best of the others`,
    },
    {
      text: texts[1],
      holds: lost.length === 0,
      found:
        lost.length === 0 ? 'it does' : `another code is better on ${lost.map(({ era }) => era).join(', ')}`,
    },
  ]
}

/** @param stale whether the sources differ from those that were measured */
export function bitsPage({ runs, command, commit }: Result<BitsRun>, stale: boolean): string {
  const { eras, training } = runs[0]!
  const predictions = runs.find((run) => run.predictions !== undefined)?.predictions
  const made = [...new Set(runs.map((run) => run.commit))].join(', ')
  const machines = [...new Set(runs.map(({ machine }) => machine))].join('; ')
  return `# Bits a byte of held-out text
${stale ? `\n${staleMark}\n` : ''}
${claimLines(claims(runs))}

${bitsTable(runs)}

![Bits a byte by code and era](bits_per_byte.svg)

The text is that of the [zoo](../models.md): ${thousands(training.bytes)} bytes for training, ${training.documents} documents; held out are
${eras.map(({ era, documents, bytes }) => `${thousands(bytes)} bytes of ${era} (${documents === 1 ? '1 document' : `${documents} documents`})`).join(', ')}.
Bits are those of a lossless code for the held-out bytes, divided by their number:

- gzip -9 and xz -9e: size of the compressed text, without the frame of gzip and the check of xz. "After the training text":
  size of training text and held-out text together minus that of the training text alone. gzip looks back 32 KiB, so that
  it has no such row. All: the eras as one text.
- 5-gram: -log2 p of the ${predictions === undefined ? '' : `${thousands(predictions)} `}tokens of the model, with counts of the training text and interpolated modified
  Kneser-Ney smoothing.
- pare-4m: -log2 p of the same tokens, by the weights as they are stored, in bf16. Windows of 256 tokens move on by 128;
  what counts is what no window before has scored.

All rows but the last come out the same each time. The model is one training with seed 0, so that there is no spread over seeds.
The last two code each document on its own, after an end of text. No row counts the size of what was learned: not the
8.9 MB of the model, not the counts, not the training text.

Command: \`${command}\`\\
Commit of the page: ${commit}; of the runs: ${made}\\
Machine: ${machines}
`
}

/** Points by era: one colour for each code. */
export function bitsFigure(runs: readonly BitsRun[]): Spec {
  const eras = [...runs[0]!.eras.map(({ era }) => era), 'all']
  const points = runs.flatMap((run) =>
    eras.map((era, i) => ({ code: run.code, era, x: era === 'all' ? perByte(run) : perByteOf(run, i) })),
  )
  return {
    width: 480,
    height: 240,
    padding: 8,
    background: 'white',
    data: [{ name: 'points', values: points }],
    scales: [
      {
        name: 'x',
        type: 'linear',
        domain: { data: 'points', field: 'x' },
        range: 'width',
        zero: true,
        nice: true,
      },
      { name: 'y', type: 'point', domain: eras, range: 'height', padding: 0.5 },
      { name: 'color', type: 'ordinal', domain: runs.map(({ code }) => code), range: 'category' },
    ],
    axes: [
      { orient: 'bottom', scale: 'x', title: 'bits a byte', grid: true },
      { orient: 'left', scale: 'y' },
    ],
    legends: [{ fill: 'color', orient: 'right', symbolType: 'circle', labelLimit: 0 }],
    marks: [
      {
        type: 'symbol',
        from: { data: 'points' },
        encode: {
          enter: {
            x: { scale: 'x', field: 'x' },
            y: { scale: 'y', field: 'era' },
            fill: { scale: 'color', field: 'code' },
            size: { value: 80 },
          },
        },
      },
    ],
  }
}
