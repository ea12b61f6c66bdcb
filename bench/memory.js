/**
 * Holds the memory that plans tell against what runs take, measured from outside by GNU time:
 *
 *   node bench/memory.js MODEL... [--only TEXT] [--work FOLDER]
 *
 * Prints a row for each recipe: the bound of the plan, the peak of the resident memory, their ratio, and whether the
 * peak lies between three quarters of the bound and the bound, and below --max-memory where there is one. Runs with and
 * without a limit must give the same bytes. Ends with 1 where anything does not hold. A mix is measured anew in each run;
 * its recipes are for SmolLM2 with 135 million weights.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { cpus, tmpdir, totalmem } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from '../.ci/arguments.js'
import { instructionSet, threads } from '../dist/tensor/index.js'

/** Two levels for the last three of 30 blocks, since each level is measured by a passage through all that follow. */
const mix =
  '--target gguf --target-bpw 5.6 --levels Q4_0,Q8_0 --override re:^model\\.layers\\.(1?[0-9]|2[0-6])\\.=scheme:Q4_0 --no-evaluate'

/** Name, arguments, and a word that runs share whose weights must be the same. */
const recipes = [
  ['rtn, Q4_K', '--method rtn --target gguf --no-evaluate', 'rtn-gguf'],
  ['rtn, pare 4 bits', '--method rtn --no-evaluate', 'rtn-pare'],
  ['rtn, pare 4 bits, 4 windows', '--method rtn --windows 4 --no-side-by-side', 'rtn-pare'],
  ['rtn, Q4_K, 20 windows', '--method rtn --target gguf --no-side-by-side', 'rtn-gguf'],
  ['gptq, Q4_K, 8 × 256', '--target gguf --samples 8 --length 256 --no-evaluate', 'gguf-8'],
  ['gptq, gptq 4 bits, 8 × 256', '--target gptq --samples 8 --length 256 --no-evaluate', 'gptq-8'],
  ['gptq, pare 3 bits, 32 × 256', '--bits 3 --samples 32 --length 256 --no-evaluate', 'pare-32'],
  [
    'gptq, pare 4 bits, 8 × 256, not true-sequential',
    '--no-true-sequential --samples 8 --length 256 --no-evaluate',
    'stage-8',
  ],
  [
    'gptq, Q4_K, 16 × 256, 4 windows, side by side',
    '--target gguf --samples 16 --length 256 --windows 4 --side-by-side',
    'gguf-16',
  ],
  [
    'gptq, Q4_K, 16 × 256, 4 windows, 600 MB',
    '--target gguf --samples 16 --length 256 --windows 4 --max-memory 600MB',
    'gguf-16',
  ],
  [
    'gptq, Q4_K, 8 × 256, 440 MB',
    '--target gguf --samples 8 --length 256 --no-evaluate --max-memory 440MB',
    'gguf-8',
  ],
  ['rtn, pare 4 bits, 4 windows, 450 MB', '--method rtn --windows 4 --max-memory 450MB', 'rtn-pare'],
  ['a mix, rtn, measured', `${mix} --method rtn`, 'mix-rtn'],
  ['a mix, rtn, measured, 420 MB', `${mix} --method rtn --max-memory 420MB`, 'mix-rtn'],
  ['a mix, gptq 8 × 256, measured', `${mix} --samples 8 --length 256`, 'mix-gptq'],
  ['a mix, gptq 8 × 256, by errors', `${mix} --samples 8 --length 256 --sensitivity error`, 'mix-error'],
]

const { values: flags, positionals: models } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string', default: '' }, work: { type: 'string', default: tmpdir() } },
})
const time = '/usr/bin/time'
if (models.length === 0 || !existsSync(time)) {
  console.error(`usage: node bench/memory.js MODEL... [--only TEXT]; needs GNU time at ${time}`)
  process.exit(2)
}
const pare = fileURLToPath(new URL('../bin/pare.js', import.meta.url))
const megabytes = (bytes) => Math.round(bytes / 1e6)

/** Peak from outside, the report, and a hash of the weights. */
function run(model, args) {
  const folder = mkdtempSync(join(flags.work, 'pare-memory-'))
  try {
    const output = join(folder, 'out')
    const measured = join(folder, 'kilobytes')
    const command = [
      '-f',
      '%M',
      '-o',
      measured,
      process.execPath,
      pare,
      'compress',
      model,
      ...args.split(' '),
    ]
    const child = spawnSync(time, [...command, '--json', '--output', output], {
      encoding: 'utf8',
      // Nothing is known of a mix there.
      env: args.includes(mix) ? { ...process.env, PARE_HOME: join(folder, 'home') } : process.env,
      maxBuffer: 1 << 28,
    })
    if (child.status !== 0) return { failure: child.stderr.trim().split('\n').at(-1) }
    const weights = readdirSync(output).filter((name) => /\.(gguf|safetensors)$/.test(name))
    const hash = createHash('sha256')
    for (const name of weights.sort()) hash.update(readFileSync(join(output, name)))
    return {
      peak: 1024 * Number(readFileSync(measured, 'utf8').trim()),
      report: JSON.parse(child.stdout),
      weights: hash.digest('hex'),
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

console.log(
  `${cpus()[0].model}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${instructionSet()}, Node ${process.versions.node}, ${process.platform}-${process.arch}; ${threads()} threads\n`,
)
let held = true
for (const model of models) {
  const known = new Map()
  console.log(`${basename(model)}\n`)
  console.log('| run | bound, MB | peak, MB | peak / bound | holds | same weights |')
  console.log('| --- | --- | --- | --- | --- | --- |')
  for (const [name, args, same] of recipes) {
    if (!name.includes(flags.only)) continue
    const { failure, peak, report, weights } = run(model, args)
    if (failure) {
      held = false
      console.log(`| ${name} | | | | ${failure} | |`)
      continue
    }
    const { plannedMemoryBytes: bound, maxMemoryBytes: limit } = report
    const ratio = peak / bound
    const holds = peak <= bound && ratio >= 0.75 && !(peak > limit)
    const equal = known.has(same) ? known.get(same) === weights : undefined
    if (!known.has(same)) known.set(same, weights)
    held &&= holds && equal !== false
    console.log(
      `| ${name} | ${megabytes(bound)} | ${megabytes(peak)} | ${ratio.toFixed(2)} | ${holds ? 'yes' : 'no'} | ${equal === undefined ? '' : equal ? 'yes' : 'no'} |`,
    )
  }
  console.log('')
}
process.exitCode = held ? 0 : 1
