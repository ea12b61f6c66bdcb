/**
 * What AQLM gains from more effort: minutes and KL of a whole model at settings of more and more work. Prints a table.
 * Run it with nothing else running:
 *
 *   node bench/aqlm_minutes.js MODEL.gguf TRAIN.txt TEST.txt... [--settings quick,middle,default] [--layers N] \
 *     [--samples 64] [--length 512] [--windows 20] [--every 50] [--threads 2]
 *
 * 2 books of 8 bits for tiles of 8 columns. Minutes are those of calibration and compression, without evaluation. With
 * `--layers` it takes only the first so many blocks, and the others get 8 bits. Every row is printed to stderr as it comes,
 * so that a stopped run is not lost.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from '../.ci/arguments.js'
import { compress } from '../dist/index.js'
import { instructionSet, setThreads, threads } from '../dist/tensor/index.js'

/** What is less than the defaults; the last is what a user gets who asks for nothing. */
const efforts = {
  quick: { rounds: 1, adamSteps: 20, kMeansRounds: 20, beam: 1 },
  middle: { rounds: 3, adamSteps: 50, kMeansRounds: 50, beam: 1 },
  default: {},
}

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    settings: { type: 'string', default: Object.keys(efforts).join(',') },
    layers: { type: 'string' },
    samples: { type: 'string', default: '64' },
    length: { type: 'string', default: '512' },
    windows: { type: 'string', default: '20' },
    every: { type: 'string', default: '50' },
    threads: { type: 'string', default: '2' },
  },
})
const [source, training, ...text] = positionals
const settings = flags.settings.split(',')
if (text.length === 0 || settings.some((name) => !Object.hasOwn(efforts, name))) {
  process.stderr.write(
    `usage: node bench/aqlm_minutes.js MODEL TRAIN TEST…, with --settings of ${Object.keys(efforts).join(',')}\n`,
  )
  process.exit(2)
}
setThreads(Number(flags.threads))

/** AQLM for all blocks, or for the first ones, and 8 bits for those after them. */
function stepsOf(effort) {
  const aqlm = { method: 'aqlm', books: 2, bookBits: 8, tileColumns: 8, ...effort }
  if (!flags.layers) return [aqlm]
  const first = Array.from({ length: Number(flags.layers) }, (_, i) => i).join('|')
  const block = (which) => [`re:^model\\.layers\\.${which}\\.`]
  return [
    { ...aqlm, only: block(`(${first})`) },
    { method: 'rtn', bits: 8, only: block(`(?!(${first})\\.)\\d+`) },
  ]
}

async function measured(effort) {
  const work = mkdtempSync(join(tmpdir(), 'pare-aqlm-'))
  try {
    const before = process.cpuUsage()
    const spent = { compression: undefined }
    const report = await compress(
      {
        ...{ source, output: join(work, 'model'), target: 'pare' },
        steps: stepsOf(effort),
        ...{ calibration: [training], samples: Number(flags.samples), length: Number(flags.length) },
        ...{ text, context: 512, windows: Number(flags.windows), every: Number(flags.every) },
        ...{ sideBySide: false, baselines: false, verify: false, probe: false },
      },
      {
        progress(event) {
          if (event.kind === 'progress' && event.phase === 'evaluate')
            spent.compression ??= process.cpuUsage(before)
        },
      },
    )
    const { user, system } = spent.compression
    const seconds = report.timeline
      .filter(({ phase }) => phase !== 'evaluate')
      .reduce((sum, part) => sum + part.seconds, 0)
    const layers = report.layers.filter(({ bits }) => bits < 8)
    const error = layers.reduce((sum, layer) => sum + layer.relativeError, 0) / layers.length
    return [
      seconds / 60,
      (user + system) / 60e6,
      report.bitsPerWeight,
      error,
      report.kl,
      report.klStandardError,
      report.perplexity,
    ]
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

const columns =
  'setting | minutes | processor minutes | stored bits | mean relative error | KL | standard error | perplexity'
const rows = []
for (const name of settings) {
  const [minutes, processor, ...rest] = await measured(efforts[name])
  const cells = [
    minutes.toFixed(2),
    processor.toFixed(2),
    ...rest.map((number) => number?.toPrecision(4) ?? ''),
  ]
  rows.push(`| ${[name, ...cells].join(' | ')} |\n`)
  process.stderr.write(rows.at(-1))
}
process.stdout.write(
  `${cpus()[0].model.trim()}, ${cpus().length} cores, ${instructionSet()}, Node ${process.version.slice(1)}, ${threads()} threads\n\n` +
    `| ${columns} |\n| ${columns.replace(/[^|]+/g, ' --- ').trim()} |\n${rows.join('')}`,
)
