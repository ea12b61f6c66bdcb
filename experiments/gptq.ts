/**
 * GPTQ against round to nearest on SmolLM2-135M-Instruct: KL, perplexity and time at 2 and 3 bits, and 8 bits as a check.
 *
 * `--only 3,64,symmetric` leaves one grid, with `,ORDER` one order of the sweep. `--quick` takes a small calibration, and
 * fails unless GPTQ is nearer to the source than RTN and the pages say which runs are from older kernels.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { instructionSet } from 'pare'
import { OptionError, printable } from '#src/tensor/errors.ts'
import { type Context, commandOf, type Experiment, type JobOptions } from './experiment.ts'
import { type ExperimentFiles, measure, numericsOf } from './gptq_measure.ts'
import { machineLines, resultFigure, resultPage, resultTable } from './gptq_page.ts'
import {
  type Configuration,
  claims,
  isCurrent,
  isValidated,
  nameOf,
  type Order,
  orders,
  pickRuns,
  type Result,
  type Run,
  type Setup,
  sources,
  summarize,
} from './gptq_result.ts'

type GptqJob = Configuration & Pick<Run, 'seed' | 'setup'>

const small: Setup = { samples: 16, length: 512, context: 256, windows: 8, every: 100 }
const full: Setup = { samples: 64, length: 512, context: 512, windows: 20, every: 50 }

export const gptq: Experiment<GptqJob, Run, Result> = {
  name: 'gptq',
  title: 'GPTQ against round to nearest',
  sources,
  systems: ['gptq', 'rtn'],
  assets: () => ['smollm2', 'text-moby-dick', 'text-sotu'],
  jobs: ({ quick, seeds, only }) =>
    configurations({ quick, only }).flatMap((configuration) =>
      (configuration.method === 'rtn' || configuration.bits === 8 ? [0] : seeds).map((seed) => ({
        ...configuration,
        seed,
        setup: quick ? small : full,
      })),
    ),
  describe: (job) => `${nameOf(job)}, seed ${job.seed}`,
  measure: (job, { assets }) => measure(job, filesIn(assets!)),
  outcome: ({ kl, perplexity, seconds }) =>
    `KL ${kl.toFixed(4)}, perplexity ${perplexity.toFixed(2)}, ${seconds.toFixed(0)} s`,
  async begin({ assets, record, sources, say }) {
    const files = filesIn(assets!)
    say('numerics: a small compression, whose bits say which kernels these are ...')
    const numerics = await numericsOf(files)
    // On other instruction sets the record tells; what it says of older sources is worth nothing.
    const known = record?.sources === sources ? (record as Result).numerics : {}
    const model = {
      file: basename(files.model),
      sha256: createHash('sha256').update(readFileSync(files.model)).digest('hex'),
    }
    return { record: { numerics: { ...known, [instructionSet()]: numerics }, model }, run: { numerics } }
  },
  pick: (runs, record, jobs) => pickRuns(runs, { ...record, setup: jobs[0]!.setup }),
  isDone: (run, job, record) =>
    isCurrent(run, record) && (run.klValidation !== undefined || !isValidated(job)),
  summary: (runs) =>
    summarize(runs).map(({ runs, ...row }) => ({
      name: nameOf(row),
      kl: row.kl,
      klSpread: row.klSpread,
      seeds: runs.length,
    })),
  claims: (result) => claims(summarize(result.runs), result),
  page: resultPage,
  part(result, system) {
    const rows = summarize(result.runs).filter((row) => row.method === system)
    return [resultTable(rows, result), '', `${machineLines(rows)}\\`].join('\n')
  },
  figures: (result) => new Map([['gptq.svg', resultFigure(result)]]),
  failures: (result, context) => [...lostGains(result.runs), ...otherKernels(result, context)],
}

/** The claims come first, so that a run that is stopped early has them. */
function configurations({ quick, only }: Pick<JobOptions, 'quick' | 'only'>): Configuration[] {
  const all: Configuration[] = []
  const add = (
    bits: Configuration['bits'],
    group: number,
    symmetric: boolean,
    inOrders: readonly Order[],
  ) => {
    all.push({ method: 'rtn', bits, group, symmetric, order: 'file' })
    for (const order of inOrders) all.push({ method: 'gptq', bits, group, symmetric, order })
  }
  for (const symmetric of [true, false]) add(3, 64, symmetric, ['static act-order'])
  all.push({ method: 'gptq', bits: 8, group: 32, symmetric: false, order: 'static act-order' })
  all.push({ method: 'gptq', bits: 8, group: 64, symmetric: false, order: 'file' })
  for (const bits of [3, 2] as const) {
    for (const group of [32, 64]) {
      for (const symmetric of [true, false])
        if (bits !== 3 || group !== 64) add(bits, group, symmetric, ['static act-order'])
    }
  }
  for (const order of ['file', 'act-order'] as const) {
    for (const symmetric of [true, false]) all.push({ method: 'gptq', bits: 3, group: 64, symmetric, order })
  }
  const wanted = only ?? (quick ? ['3,64,asymmetric'] : undefined)
  return all.filter(
    (each) =>
      (!wanted || wanted.some((text) => matches(each, text))) &&
      !(quick && !only && each.method === 'gptq' && each.order !== 'static act-order'),
  )
}

/** `3,64,symmetric` with an optional order of the sweep, which leaves only that. */
function matches({ bits, group, symmetric, order: own }: Configuration, text: string): boolean {
  const [b, g, zero, order] = text.split(',').map((part) => part.trim())
  const known = zero === 'symmetric' || zero === 'asymmetric'
  if (!known || !Number(b) || !Number(g) || ![undefined, ...orders].includes(order as Order)) {
    throw new OptionError(
      `--only ${printable(text)}: needed is BITS,GROUP,symmetric or BITS,GROUP,asymmetric, with an order of the sweep if wanted (${orders.join('; ')})`,
    )
  }
  return (
    bits === Number(b) &&
    group === Number(g) &&
    symmetric === (zero === 'symmetric') &&
    (!order || order === own)
  )
}

function filesIn(assets: string): ExperimentFiles {
  const speeches = join(assets, 'data/text-sotu/data')
  return {
    model: join(assets, 'models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'),
    calibration: [join(assets, 'data/text-moby-dick/data/data.txt')],
    text: readdirSync(speeches)
      .filter((name) => name.endsWith('.txt'))
      .sort()
      .map((name) => join(speeches, name)),
  }
}

/** GPTQ must be nearer to the source than RTN, also in the small. */
function lostGains(runs: readonly Run[]): string[] {
  const rows = summarize(runs).filter(({ ratio }) => ratio !== undefined)
  if (rows.length === 0) return ['no run of GPTQ has one of RTN beside it']
  return rows
    .filter(({ ratio }) => ratio! >= 1)
    .map((row) => `${nameOf(row)}: its KL is ${row.ratio!.toFixed(2)} of that of RTN`)
}

/** The pages must say which runs are from older kernels. */
function otherKernels({ numerics }: Result, { record, sources }: Context): string[] {
  const recorded = record?.sources === sources ? (record as Result).numerics[instructionSet()] : undefined
  const now = numerics[instructionSet()]
  if (recorded === undefined || recorded === now) return []
  return [
    `docs/results/gptq.json was made by kernels that gave other bits (${recorded}, now ${now}): \`${commandOf('gptq')}\` measures again, with --write it marks the old runs, then \`npm run pages\``,
  ]
}
