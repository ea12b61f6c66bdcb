/**
 * GPTQ against round to nearest on SmolLM2-135M-Instruct: KL, perplexity and time at 2 and 3 bits, and 8 bits as a check.
 *
 *   npm run experiment -- gptq [--assets DIR] [--only 3,64,symmetric]... [--seeds 0,1,2] [--quick] [--write] [--output DIR]
 *
 * Every run is added to gptq.runs.jsonl as soon as it is done; the same command goes on where it stopped. Then
 * gptq.json, gptq.md and gptq.svg are written. `--quick` is for continuous integration: a small calibration, one seed,
 * results in a temporary folder, and exit code 1 unless GPTQ is nearer to the source than RTN.
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
import { compress, evaluate, instructionSet } from 'pare'
import { resultFigure, resultPage } from './gptq_page.ts'
import {
  type Configuration,
  claims,
  nameOf,
  type Order,
  orders,
  type Result,
  type Run,
  type Setup,
  sources,
  summarize,
} from './gptq_result.ts'
import { currentCommit, describeMachine, hashOf, machineLine } from './machine.ts'

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

function assetFiles(): { model: string; calibration: string[]; text: string[] } {
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

type Key = Configuration & Pick<Run, 'seed' | 'setup' | 'sources'>

/** What decides the numbers of a run. */
const keyOf = ({ method, bits, group, symmetric, order, seed, setup, sources }: Key): string =>
  JSON.stringify([method, bits, group, symmetric, order, seed, Object.values(setup), sources])

async function measure(
  configuration: Configuration,
  seed: number,
  files: ReturnType<typeof assetFiles>,
  /** Of the sources as they were when the experiment began. */
  hash: string,
): Promise<Run> {
  const work = mkdtempSync(join(tmpdir(), 'pare-experiment-'))
  const { method, bits, group, symmetric, order } = configuration
  try {
    const output = join(work, 'model')
    const report = await compress({
      source: files.model,
      output,
      target: 'pare',
      method,
      bits,
      groupSize: group,
      symmetric,
      actOrder: order !== 'file',
      staticGroups: order === 'static act-order',
      calibration: files.calibration,
      samples: setup.samples,
      length: setup.length,
      seed,
      evaluate: false,
    })
    const { context, windows, every } = setup
    const found = await evaluate({
      model: output,
      against: files.model,
      text: files.text,
      context,
      windows,
      every,
    })
    if (found.tokens !== windows * (context - 1))
      throw new Error(`the text holds fewer than ${windows} windows`)
    return {
      ...configuration,
      seed,
      setup,
      sources: hash,
      storedBits: report.bitsPerWeight,
      perplexity: found.perplexity,
      perplexitySource: found.perplexitySource!,
      kl: found.kl!,
      klStandardError: found.klStandardError!,
      top1: found.top1!,
      seconds: report.seconds,
      machine: machineLine(describeMachine(instructionSet())),
    }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** The runs that are done, by key. A line that a stop cut short is ended, and its run is measured again. */
function readJournal(file: string): Map<string, Run> {
  const done = new Map<string, Run>()
  if (!existsSync(file)) return done
  const text = readFileSync(file, 'utf8')
  if (text !== '' && !text.endsWith('\n')) appendFileSync(file, '\n')
  for (const line of text.split('\n').filter((each) => each !== '')) {
    try {
      const run: Run = JSON.parse(line)
      done.set(keyOf(run), run)
    } catch {
      say(`gptq.runs.jsonl: a line is cut short and is left out`)
    }
  }
  return done
}

async function main(): Promise<void> {
  const files = assetFiles()
  const output =
    flags.output ?? (flags.quick ? mkdtempSync(join(tmpdir(), 'pare-result-')) : join(root, 'docs/results'))
  mkdirSync(output, { recursive: true })
  const journal = join(output, 'gptq.runs.jsonl')
  const done = readJournal(journal)
  const seeds = flags.quick ? [0] : flags.seeds.split(',').map(Number)
  // With --write the page is made from the runs there are, so that a journal that is not whole can be looked at.
  const jobs = (flags.write ? [] : configurations()).flatMap((configuration) =>
    (configuration.method === 'rtn' || configuration.bits === 8 ? [0] : seeds).map((seed) => ({
      configuration,
      seed,
    })),
  )
  if (jobs.length === 0 && !flags.write)
    throw new Error('--only: nothing fits; possible are bits 2, 3 and 8 with groups of 32 and 64')
  const hash = hashOf(root, sources)
  for (const [index, { configuration, seed }] of jobs.entries()) {
    const title = `${index + 1}/${jobs.length}  ${nameOf(configuration)}, seed ${seed}`
    const key = keyOf({ ...configuration, seed, setup, sources: hash })
    const known = done.get(key)
    if (!known) say(`${title} ...`)
    const run = known ?? (await measure(configuration, seed, files, hash))
    if (!known) appendFileSync(journal, `${JSON.stringify(run)}\n`)
    done.set(key, run)
    say(
      `${title}: KL ${run.kl.toFixed(4)}, perplexity ${run.perplexity.toFixed(2)}, ${run.seconds.toFixed(0)} s${known ? ' (known)' : ''}`,
    )
  }
  const runs = [...done.values()].filter(
    (run) => run.sources === hash && String(Object.values(run.setup)) === String(Object.values(setup)),
  )
  await write(output, runs, files.model, hash)
  if (flags.quick && !flags.output) rmSync(output, { recursive: true, force: true })
}

async function write(output: string, runs: readonly Run[], model: string, hash: string): Promise<void> {
  const result: Result = {
    experiment: 'gptq',
    commit: currentCommit(root),
    command: `npm run experiment -- gptq${flags.quick ? ' --quick' : ''} --assets DIR`,
    sources: hash,
    model: { file: basename(model), sha256: createHash('sha256').update(readFileSync(model)).digest('hex') },
    runs,
  }
  writeFileSync(join(output, 'gptq.json'), `${JSON.stringify(result, null, 2)}\n`)
  writeFileSync(join(output, 'gptq.md'), resultPage(result, false))
  writeFileSync(join(output, 'gptq.svg'), `${await resultFigure(result)}\n`)
  const rows = summarize(runs)
  if (!flags.quick) {
    for (const { text, holds, found } of claims(rows)) {
      process.stdout.write(`${holds === undefined ? 'open ' : holds ? 'holds' : 'FAILS'}  ${text} ${found}\n`)
    }
    return
  }
  const worse = rows.filter(({ ratio }) => ratio !== undefined && ratio >= 1)
  for (const row of worse)
    process.stdout.write(`FAILED  ${nameOf(row)}: its KL is ${row.ratio!.toFixed(2)} of that of RTN\n`)
  if (worse.length > 0 || !rows.some(({ ratio }) => ratio !== undefined)) process.exitCode = 1
}

await main()
