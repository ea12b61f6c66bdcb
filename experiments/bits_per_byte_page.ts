/** The record of what held-out text takes in each code, its page and its figure. */
import * as vega from 'vega'

/** Sources that decide what the codes give; the model decides the rest. */
export const sources = [
  'experiments/bits_per_byte_measure.ts',
  'experiments/kneser_ney.ts',
  'experiments/models/corpus.ts',
  'src/data/assets/language.ts',
  'experiments/models/pare-4m/model.safetensors',
  'experiments/models/pare-4m/tokenizer.json',
] as const

export interface CodeRow {
  code: string
  /** Whether it knows the training text. */
  learned: boolean
  /** By era, in their order. */
  bits: readonly number[]
  /** Of all eras together: for gzip and xz they are one text then. */
  bitsTotal: number
}

export interface BitsRecord {
  experiment: 'bits_per_byte'
  commit: string
  command: string
  machine: string
  /** SHA-256 over `sources`. */
  sources: string
  eras: readonly { era: string; documents: number; bytes: number; tokens: number }[]
  training: { documents: number; bytes: number; tokens: number }
  rows: readonly CodeRow[]
}

const perByte = (bits: number, bytes: number) => bits / bytes
const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0)
const fixed = (value: number) => value.toFixed(3)
const thousands = (value: number) => value.toLocaleString('en')

/** Markdown: one code a row, one era a column, bits a byte. */
export function bitsTable({ eras, rows }: BitsRecord): string {
  const bytes = eras.map((era) => era.bytes)
  const cells = rows.map(({ code, learned, bits, bitsTotal }) => [
    code,
    learned ? 'yes' : 'no',
    ...bits.map((value, i) => fixed(perByte(value, bytes[i]!))),
    fixed(perByte(bitsTotal, total(bytes))),
  ])
  const head = ['code', 'knows the training text', ...eras.map(({ era }) => era), 'all']
  return [head, head.map((_, i) => (i < 2 ? '---' : '---:')), ...cells]
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n')
}

/** Whether the model takes the fewest bits, and by how much, in total and by era. */
export function finding({ eras, rows }: BitsRecord): string {
  const model = rows.at(-1)!
  const others = rows.slice(0, -1)
  const best = (of: (row: CodeRow) => number) => others.reduce((a, b) => (of(b) < of(a) ? b : a))
  const next = best(({ bitsTotal }) => bitsTotal)
  const share = model.bitsTotal / next.bitsTotal - 1
  const lost = eras.filter((_, i) => best(({ bits }) => bits[i]!).bits[i]! < model.bits[i]!)
  const outcome =
    share < 0
      ? `The model takes the fewest bits: ${percent(-share)} fewer than ${next.code}, the next best`
      : `The model loses: it takes ${percent(share)} more bits than ${next.code}`
  const where =
    lost.length === 0
      ? share < 0
        ? ', and the fewest in every era.'
        : '.'
      : `. Another code is better on ${lost.map(({ era }) => era).join(', ')}.`
  return outcome + where
}
const percent = (share: number) => `${(100 * share).toFixed(1)}%`

/** @param stale whether the sources differ from those that were measured */
export function bitsPage(record: BitsRecord, stale: boolean): string {
  const { eras, training, command, commit, machine } = record
  return `# Bits a byte of held-out text
${stale ? '\n> Stale: the code or the model changed after this was measured. Run the command below again.\n' : ''}
${finding(record)}

${bitsTable(record)}

![Bits a byte by code and era](bits_per_byte.svg)

The text is that of the [zoo](../models.md): ${thousands(training.bytes)} bytes for training (${training.documents} documents, ${thousands(training.tokens)} tokens); held out are
${eras.map(({ era, documents, bytes }) => `${thousands(bytes)} bytes of ${era} (${documents === 1 ? '1 document' : `${documents} documents`})`).join(', ')}.
Bits are those of a lossless code for the held-out bytes, divided by their number:

- gzip -9 and xz -9e: size of the compressed text, without the frame of gzip and the check of xz. "After the training text":
  size of training text and held-out text together minus that of the training text alone. gzip looks back 32 KiB, so that
  it has no such row. Total: all eras as one text.
- 5-gram: -log2 p of the ${thousands(total(eras.map(({ tokens }) => tokens)))} tokens of the model, with counts of the training text and interpolated
  modified Kneser-Ney smoothing.
- pare-4m: -log2 p of the same tokens, as stored, in bf16. Windows of 256 tokens move on by 128; what counts is what no
  window before has scored.

The last two code each document on its own, after an end of text. No row counts the size of what was learned: not the
8.9 MB of the model, not the counts, not the training text.

Command: \`${command}\`\\
Commit: ${commit}\\
Machine: ${machine}
`
}

/** Points by era: one colour for each code. */
export async function bitsFigure({ eras, rows }: BitsRecord): Promise<string> {
  const bytes = eras.map((era) => era.bytes)
  const points = rows.flatMap(({ code, bits, bitsTotal }) => [
    ...bits.map((value, i) => ({ code, era: eras[i]!.era, x: perByte(value, bytes[i]!) })),
    { code, era: 'all', x: perByte(bitsTotal, total(bytes)) },
  ])
  const spec: vega.Spec = {
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
      {
        name: 'y',
        type: 'point',
        domain: [...eras.map(({ era }) => era), 'all'],
        range: 'height',
        padding: 0.5,
      },
      { name: 'color', type: 'ordinal', domain: rows.map(({ code }) => code), range: 'category' },
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
  return new vega.View(vega.parse(spec), { renderer: 'none' }).toSVG()
}
