/**
 * Whether runs take as long as their plans say. Compresses MODEL by several recipes, each in a process of its own, and
 * prints a table: the range of the plan, the seconds from the plan to the end, and whether they lie in the range.
 *
 *   node bench/plan_time.js MODEL.gguf [--only 1,3] [--threads 2]
 *
 * Exit code 1 where a run does not. Phases that do not lie in their own range are listed on stderr.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from '../.ci/arguments.js'
import { compress } from '../dist/run/compress.js'
import { instructionSet, setThreads } from '../dist/tensor/index.js'

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    threads: { type: 'string', default: String(cpus().length) },
    // For the processes of the runs.
    recipe: { type: 'string' },
  },
})
const [source] = positionals

const recipes = [
  { target: 'gguf', scheme: 'Q4_K', method: 'rtn', evaluate: false },
  { target: 'pare', bits: 4, method: 'rtn', windows: 8, sideBySide: false },
  { target: 'gptq', bits: 4, groupSize: 64, method: 'rtn' },
  { target: 'gguf', scheme: 'Q3_K', samples: 16, evaluate: false },
  { target: 'gptq', bits: 3, groupSize: 64, samples: 32, length: 256, context: 256, windows: 8 },
  { target: 'pare', bits: 3, trueSequential: false, samples: 8, windows: 2, sideBySide: false },
  { target: 'pare', bits: 3, groupSize: 32 },
  {
    target: 'gguf',
    samples: 8,
    length: 256,
    levels: ['Q4_0', 'Q8_0'],
    limits: { targetBpw: 5.6 },
    // What is left are two of 30 blocks.
    overrides: [{ match: 're:^model\\.layers\\.(1?[0-9]|2[0-7])\\.', scheme: 'Q4_0' }],
    evaluate: false,
  },
]

/** A recipe for people. */
const title = ({ target, scheme, bits, levels, limits, overrides: _, method = 'gptq', ...rest }) =>
  [
    `${method}, ${target} ${levels ? `${levels.join(' or ')}, ${limits.targetBpw} bits` : (scheme ?? `${bits} bits`)}`,
    ...Object.entries(rest).map(([name, value]) => `${name} ${value}`),
  ].join(', ')

/** One run: its first plan, and seconds from that to the end without later probes. Nothing is known of a mix before. */
async function measure(options) {
  const folder = mkdtempSync(join(tmpdir(), 'pare-plan-time-'))
  try {
    process.env.PARE_HOME = join(folder, 'home')
    let plan
    const report = await compress(
      { ...options, source, output: join(folder, 'out') },
      {
        progress: (event) => {
          if (event.kind === 'plan') plan ??= event.plan
        },
      },
    )
    const [probe, ...later] = report.timeline.filter(({ phase }) => phase === 'probe')
    const spent = {}
    for (const { phase, seconds } of report.timeline) spent[phase] = (spent[phase] ?? 0) + seconds
    return {
      range: plan.seconds,
      seconds: later.reduce(
        (sum, { seconds }) => sum - seconds,
        report.seconds - probe.start - probe.seconds,
      ),
      spent,
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

if (flags.recipe !== undefined) {
  setThreads(Number(flags.threads))
  process.stdout.write(JSON.stringify(await measure(recipes[Number(flags.recipe)])))
} else {
  const chosen = flags.only?.split(',').map(Number) ?? recipes.map((_, i) => i + 1)
  process.stdout.write(
    `${cpus()[0].model}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${instructionSet()}, Node ${process.version}, ${process.platform}-${process.arch}; ${flags.threads} threads\n\n`,
  )
  process.stdout.write('| recipe | plan, s | took, s | in the range |\n| --- | --- | --- | --- |\n')
  for (const number of chosen) {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [fileURLToPath(import.meta.url), source, '--recipe', String(number - 1), '--threads', flags.threads],
      { encoding: 'utf8', maxBuffer: 2 ** 26 },
    )
    if (status !== 0) throw new Error(`recipe ${number} ended with ${status}:\n${stderr}`)
    const { range, seconds, spent } = JSON.parse(stdout)
    const inside = range.from <= seconds && seconds <= range.to
    if (!inside) process.exitCode = 1
    process.stdout.write(
      `| ${title(recipes[number - 1])} | ${range.from.toFixed(1)} to ${range.to.toFixed(1)} | ${seconds.toFixed(1)} | ${inside ? 'yes' : 'NO'} |\n`,
    )
    for (const { phase, from, to } of range.phases) {
      const took = spent[phase] ?? 0
      process.stderr.write(
        `  ${number} ${phase.padEnd(10)} ${from.toFixed(2)} to ${to.toFixed(2)}, took ${took.toFixed(2)}${took < from || took > to ? '  <-' : ''}\n`,
      )
    }
  }
}
