/**
 * GPTQ against round to nearest on SmolLM2-135M-Instruct: KL, perplexity and time at 2 and 3 bits, and 8 bits as a check.
 *
 *   npm run experiment -- gptq [--assets DIR] [--only 3,64,symmetric]... [--seeds 0,1,2] [--quick] [--write] [--output DIR] [--commit ID]
 *
 * Every run is added to gptq.runs.jsonl as soon as it is done; the same command goes on where it stopped. Then
 * gptq.json, gptq.md and gptq.svg are written. `--quick` is for continuous integration: a small calibration, one seed,
 * results in a temporary folder, and exit code 1 unless GPTQ is nearer to the source than RTN and the pages say which
 * runs are from older kernels. `--commit` names the commit of a tree without git.
 */
import { createHash } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { instructionSet } from 'pare'
import { type ExperimentFiles, measure, numericsOf } from './gptq_measure.ts'
import { resultFigure, resultPage } from './gptq_page.ts'
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
  titleOf,
} from './gptq_result.ts'
import { currentCommit, hashOf } from './machine.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const say = (text: string) => process.stderr.write(`${text}\n`)

const { values: flags } = parseArgs({
  options: {
    assets: { type: 'string' },
    only: { type: 'string', multiple: true },
    seeds: { type: 'string', default: '0,1,2' },
    quick: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    output: { type: 'string' },
    commit: { type: 'string' },
  },
})

const setup: Setup = flags.quick
  ? { samples: 16, length: 512, context: 256, windows: 8, every: 100 }
  : { samples: 64, length: 512, context: 512, windows: 20, every: 50 }

/** The claims come first, so that a run that is stopped early has them. */
function configurations(): Configuration[] {
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
  const wanted = flags.only ?? (flags.quick ? ['3,64,asymmetric'] : undefined)
  return all.filter(
    (each) =>
      (!wanted || wanted.some((text) => matches(each, text))) &&
      !(flags.quick && !flags.only && each.method === 'gptq' && each.order !== 'static act-order'),
  )
}

/** `3,64,symmetric` with an optional order of the sweep, which leaves only that. */
function matches({ bits, group, symmetric, order: own }: Configuration, text: string): boolean {
  const [b, g, zero, order] = text.split(',').map((part) => part.trim())
  const known = zero === 'symmetric' || zero === 'asymmetric'
  if (!known || !Number(b) || !Number(g) || ![undefined, ...orders].includes(order as Order)) {
    throw new Error(
      `--only ${text}: needed is BITS,GROUP,symmetric or BITS,GROUP,asymmetric, with an order of the sweep if wanted (${orders.join('; ')})`,
    )
  }
  return (
    bits === Number(b) &&
    group === Number(g) &&
    symmetric === (zero === 'symmetric') &&
    (!order || order === own)
  )
}

function assetFiles(): ExperimentFiles {
  const folder = flags.assets ?? process.env.PARE_ASSETS
  if (!folder)
    throw new Error('--assets: name the folder that `bash interop/assets.sh DIR` filled, or set PARE_ASSETS')
  const speeches = join(folder, 'data/text-sotu/data')
  return {
    model: join(folder, 'models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'),
    calibration: [join(folder, 'data/text-moby-dick/data/data.txt')],
    text: readdirSync(speeches)
      .filter((name) => name.endsWith('.txt'))
      .sort()
      .map((name) => join(speeches, name)),
  }
}

/** The runs that are done. A line that a stop cut short is ended, and its run is measured again. */
function readJournal(file: string): Run[] {
  if (!existsSync(file)) return []
  const text = readFileSync(file, 'utf8')
  if (text !== '' && !text.endsWith('\n')) appendFileSync(file, '\n')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .flatMap((line): Run[] => {
      try {
        return [JSON.parse(line)]
      } catch {
        say('gptq.runs.jsonl: a line is cut short and is left out')
        return []
      }
    })
}

/** The record that stands in the pages, where there is one. */
function readRecord(): Result | undefined {
  const file = join(root, 'docs/results/gptq.json')
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
}

async function main(): Promise<void> {
  const files = assetFiles()
  const output =
    flags.output ?? (flags.quick ? mkdtempSync(join(tmpdir(), 'pare-result-')) : join(root, 'docs/results'))
  mkdirSync(output, { recursive: true })
  const journal = join(output, 'gptq.runs.jsonl')
  const runs = readJournal(journal)
  const seeds = flags.quick ? [0] : flags.seeds.split(',').map(Number)
  // With --write the page is made from the runs there are, so that a journal that is not whole can be looked at.
  const jobs = (flags.write ? [] : configurations()).flatMap((configuration) =>
    (configuration.method === 'rtn' || configuration.bits === 8 ? [0] : seeds).map((seed) => ({
      ...configuration,
      seed,
      setup,
    })),
  )
  if (jobs.length === 0 && !flags.write)
    throw new Error('--only: nothing fits; possible are bits 2, 3 and 8 with groups of 32 and 64')
  const made = { sources: hashOf(root, sources), commit: flags.commit ?? currentCommit(root) }
  say('numerics: a small compression, whose bits say which kernels these are ...')
  const numerics = await numericsOf(files)
  const record = readRecord()
  // On other instruction sets the record tells; what it says of older sources is worth nothing.
  const known = record?.sources === made.sources ? record.numerics : {}
  const all = { ...known, [instructionSet()]: numerics }
  for (const [index, job] of jobs.entries()) {
    const title = `${index + 1}/${jobs.length}  ${nameOf(job)}, seed ${job.seed}`
    const before = pickRuns(runs, { setup, sources: made.sources, numerics: all }).find(
      (run) =>
        titleOf(run) === titleOf(job) &&
        isCurrent(run, { numerics: all }) &&
        (run.klValidation !== undefined || !isValidated(job)),
    )
    if (!before) say(`${title} ...`)
    const run = before ?? { ...(await measure(job, files)), ...made, numerics }
    if (!before) {
      appendFileSync(journal, `${JSON.stringify(run)}\n`)
      runs.push(run)
    }
    say(
      `${title}: KL ${run.kl.toFixed(4)}, perplexity ${run.perplexity.toFixed(2)}, ${run.seconds.toFixed(0)} s${before ? ' (known)' : ''}`,
    )
  }
  const result: Result = {
    experiment: 'gptq',
    commit: made.commit,
    command: `npm run experiment -- gptq${flags.quick ? ' --quick' : ''} --assets DIR`,
    sources: made.sources,
    numerics: all,
    model: {
      file: basename(files.model),
      sha256: createHash('sha256').update(readFileSync(files.model)).digest('hex'),
    },
    runs: pickRuns(runs, { setup, sources: made.sources, numerics: all }),
  }
  await write(output, result)
  if (flags.quick) {
    checkGain(result.runs)
    checkNumerics(record, made.sources, numerics)
    if (!flags.output) rmSync(output, { recursive: true, force: true })
  }
}

async function write(output: string, result: Result): Promise<void> {
  writeFileSync(join(output, 'gptq.json'), `${JSON.stringify(result, null, 2)}\n`)
  writeFileSync(join(output, 'gptq.md'), resultPage(result, false))
  writeFileSync(join(output, 'gptq.svg'), `${await resultFigure(result)}\n`)
  if (flags.quick) return
  for (const { text, holds, found } of claims(summarize(result.runs), result)) {
    process.stdout.write(`${holds === undefined ? 'open ' : holds ? 'holds' : 'FAILS'}  ${text} ${found}\n`)
  }
}

function fail(text: string): void {
  process.stdout.write(`FAILED  ${text}\n`)
  process.exitCode = 1
}

/** GPTQ must be nearer to the source than RTN, also in the small. */
function checkGain(runs: readonly Run[]): void {
  const rows = summarize(runs).filter(({ ratio }) => ratio !== undefined)
  if (rows.length === 0) fail('no run of GPTQ has one of RTN beside it')
  for (const row of rows)
    if (row.ratio! >= 1) fail(`${nameOf(row)}: its KL is ${row.ratio!.toFixed(2)} of that of RTN`)
}

/** The pages must say which runs are from older kernels. */
function checkNumerics(record: Result | undefined, hash: string, numerics: string): void {
  const recorded = record?.sources === hash ? record.numerics[instructionSet()] : undefined
  if (recorded === undefined || recorded === numerics) return
  fail(
    `docs/results/gptq.json was made by kernels that gave other bits (${recorded}, now ${numerics}): \`npm run experiment -- gptq\` measures again, with --write it marks the old runs, then \`npm run pages\``,
  )
}

await main()
