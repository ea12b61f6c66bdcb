/**
 * MiniLM to ONNX at 8 and 4 bits: how near the vectors of passages stay to those of the floats, by method, kind of zero
 * and calibration text.
 *
 * `--only gptq` leaves the rows whose name holds that. `--quick` takes 8 passages and a small calibration, and fails
 * unless GPTQ is nearer than round to nearest at 4 bits, and 8 bits nearer than either.
 */
import { OptionError, printable } from '#src/tensor/errors.ts'
import { type EncoderJob, type EncoderRun, measure, type Setup } from './encoder_onnx_measure.ts'
import { claims, nameOf, resultFigure, resultPage, resultTable, summarize } from './encoder_onnx_page.ts'
import type { Experiment, JobOptions } from './experiment.ts'
import { sources } from './gptq_result.ts'

const small: Setup = { block: 32, passages: 8, samples: 16, length: 80 }
const full: Setup = { block: 32, passages: 48, samples: 256, length: 80 }

export const encoderOnnx: Experiment<EncoderJob, EncoderRun> = {
  name: 'encoder_onnx',
  title: 'A text encoder to ONNX',
  sources: ['experiments/encoder_onnx_measure.ts', 'src/calibrate/text_passages.ts', ...sources],
  systems: [],
  assets: () => ['minilm', 'text-sotu'],
  jobs,
  describe: (job) => `${nameOf(job)}, seed ${job.seed}`,
  measure: (job, { assets }) => measure(job, assets!),
  outcome: ({ meanCosine, leastCosine, seconds }) =>
    `cosine ${meanCosine.toFixed(5)}, least ${leastCosine.toFixed(5)}, ${seconds.toFixed(0)} s`,
  summary: (runs) =>
    summarize(runs).map(({ runs, meanCosine, leastCosine }) => ({
      name: nameOf(runs[0]!),
      meanCosine,
      leastCosine,
    })),
  claims: ({ runs }) => claims(runs),
  page: resultPage,
  part: ({ runs }) => resultTable(runs),
  figures: ({ runs }) => new Map([['encoder_onnx.svg', resultFigure(runs)]]),
  failures: ({ runs }) => lostOrders(runs),
}

type Row = Omit<EncoderJob, 'seed' | 'setup'>

const rows: readonly Row[] = [
  { method: 'rtn', bits: 8, symmetric: false },
  { method: 'rtn', bits: 4, symmetric: true },
  { method: 'rtn', bits: 4, symmetric: false },
  { method: 'gptq', bits: 4, symmetric: true, calibration: 'other speeches' },
  { method: 'gptq', bits: 4, symmetric: false, calibration: 'other speeches' },
  { method: 'gptq', bits: 4, symmetric: false, calibration: 'shipped' },
]
const quickRows = [0, 2, 4].map((at) => nameOf(rows[at]!))

function jobs({ quick, seeds, only }: JobOptions): EncoderJob[] {
  for (const word of only ?? [])
    if (!rows.some((row) => nameOf(row).includes(word)))
      throw new OptionError(
        `--only ${printable(word)}: stands in the name of no row; the rows are ${rows.map(nameOf).join('; ')}`,
      )
  return rows
    .filter((row) =>
      only ? only.some((word) => nameOf(row).includes(word)) : !quick || quickRows.includes(nameOf(row)),
    )
    .flatMap((row) =>
      // Round to nearest draws no samples.
      (row.method === 'rtn' ? [0] : seeds).map((seed) => ({ ...row, seed, setup: quick ? small : full })),
    )
}

/** From the nearest to the farthest, also in the small. */
function lostOrders(runs: readonly EncoderRun[]): string[] {
  const found = [0, 4, 2].map((at) => runs.find((run) => nameOf(run) === nameOf(rows[at]!)))
  return found.slice(1).flatMap((farther, i) => {
    const nearer = found[i]
    if (!nearer || !farther || nearer.meanCosine > farther.meanCosine) return []
    return [
      `${nameOf(nearer)}: must be nearer than ${nameOf(farther)}, its cosine is ${nearer.meanCosine.toFixed(5)} against ${farther.meanCosine.toFixed(5)}`,
    ]
  })
}
