/**
 * Times Pare and PyTorch (and llm-compressor) at the same work, in turns on this machine, and prints a table: medians
 * over the rounds, with the least and the most. Run it with nothing else running:
 *
 *   node bench/turns.js MODEL.gguf --text TRAIN.txt --calibration calibration.json --evaluation held-out.json \
 *     --torch torch-venv/bin/python [--llmcompressor llmcompressor-venv/bin/python] \
 *     [--jobs matmul,prefill,gptq,gptq-static,spqr,sparsegpt,wanda] [--rounds 5] [--threads 2]
 *   node bench/turns.js --torch torch-venv/bin/python --jobs train-resnet [--preload LIBRARY.so]
 *   node bench/turns.js --torch torch-venv/bin/python --jobs train-llama [--preload LIBRARY.so]
 *
 * The environments and the two files of token windows come from the commands in bench/peers/README.md. Every reading is
 * printed to stderr as it comes, so that a stopped run is not lost.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from '../.ci/arguments.js'

const here = dirname(fileURLToPath(import.meta.url))
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    text: { type: 'string' },
    calibration: { type: 'string' },
    evaluation: { type: 'string' },
    torch: { type: 'string' },
    llmcompressor: { type: 'string' },
    jobs: { type: 'string', default: 'matmul,prefill,gptq' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    preload: { type: 'string', multiple: true, default: [] },
  },
})
const [model] = positionals
const threads = ['--threads', flags.threads]

/** What a program prints, as JSON; what it says to stderr is shown only where it fails. */
function json(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 28 })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${stderr}`)
  return JSON.parse(stdout.slice(stdout.indexOf('{')))
}

const pare = (...args) => json(process.execPath, [join(here, 'pare.js'), ...args, ...threads])
const torch = (script, ...args) => json(flags.torch, [join(here, 'peers', script), ...args, ...threads])

function llmCompressor(method) {
  const folder = mkdtempSync(join(tmpdir(), 'pare-turns-'))
  try {
    const script = join(here, 'peers/llmcompressor_oneshot.py')
    const args = [script, model, flags.calibration, '--method', method, '--folder', folder, ...threads]
    return json(flags.llmcompressor, args)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** A job: programs in their order, each with the readings that it gives, by the name of the work. */
const jobs = {
  matmul: {
    Pare: () =>
      Object.fromEntries(
        pare('matmul').result.map(({ n, gflops }) => [`f32 product ${n}³, GFLOP/s`, gflops]),
      ),
    PyTorch: () =>
      Object.fromEntries(
        torch('torch_matmul.py').gflops.map(({ size, median }) => [`f32 product ${size}³, GFLOP/s`, median]),
      ),
  },
  prefill: {
    Pare: () =>
      Object.fromEntries(
        pare('prefill', model).result.map(({ dtype, tokensPerSecond }) => [
          `prefill of 512 tokens, all logits, ${dtype}, tokens/s`,
          tokensPerSecond,
        ]),
      ),
    PyTorch: () => ({
      'prefill of 512 tokens, all logits, f32, tokens/s': torch('torch_prefill.py', model, flags.evaluation)
        .tokens_per_s,
    }),
  },
  'train-resnet': {
    Pare: () => {
      const found = json(process.execPath, [join(here, 'training.js'), 'resnet', ...threads])
      return {
        'steps of ResNet-20, images/s': found.imagesPerSecond,
        'steps of ResNet-20, growth of memory, MB': found.growthToStep3Bytes / 1e6,
      }
    },
    // The faster order of memory under the faster allocator.
    PyTorch: () => {
      const { best, orders } = torch(
        'torch_train_resnet.py',
        ...flags.preload.flatMap((library) => ['--preload', library]),
      )
      const { best: allocator, allocators } = orders[best]
      return {
        'steps of ResNet-20, images/s': allocators[allocator].images_per_s,
        'steps of ResNet-20, growth of memory, MB': allocators[allocator].growth_to_step_3_bytes / 1e6,
      }
    },
  },
  'train-llama': {
    Pare: () => {
      const found = json(process.execPath, [join(here, 'training.js'), 'llama', ...threads])
      return llamaReadings(found.tokensPerSecond, found.growthToStep3Bytes)
    },
    PyTorch: () => llamaOfTorch('default'),
    // The allocator that is fastest, of those that a user could choose.
    'PyTorch, tuned allocator': () => llamaOfTorch(),
  },
  gptq: gptqJob([]),
  'gptq-static': gptqJob(['--static-groups']),
  spqr: {
    // The windows that PyTorch gets, so that both find the same outliers.
    Pare: () => {
      const { seconds, statistics, solving, ...found } = pare('spqr', model, flags.calibration).result
      return spqrReadings({
        ...{ seconds, statistics, solving, error: found.relativeError, outliers: found.outlierShare },
      })
    },
    PyTorch: () => {
      const { total_s, phases_s, ...found } = torch('torch_spqr.py', model, flags.calibration)
      return spqrReadings({
        ...{ seconds: total_s, statistics: phases_s.statistics, solving: phases_s.factors + phases_s.sweep },
        ...{ error: found.relative_error, outliers: found.outlier_share },
      })
    },
  },
  sparsegpt: pruningJob('sparsegpt'),
  wanda: pruningJob('wanda'),
}

const llamaReadings = (rate, growth) => ({
  'steps of a llama, tokens/s': rate,
  'steps of a llama, growth of memory, MB': growth / 1e6,
})

const spqrReadings = ({ seconds, statistics, solving, error, outliers }) => ({
  'SpQR, s': seconds,
  'SpQR: statistics, factors, sweep, s': statistics + solving,
  'SpQR: factors and sweep, s': solving,
  'SpQR: mean relative error of layers, thousandths': 1000 * error,
  'SpQR: outliers, in 1000 weights': 1000 * outliers,
})

function llamaOfTorch(allocator) {
  const preloads = flags.preload.flatMap((library) => ['--preload', library])
  const { best, allocators } = torch('torch_train_llama.py', ...preloads)
  const found = allocators[allocator ?? best]
  return llamaReadings(found.tokens_per_s, found.growth_to_step_3_bytes)
}

function gptqJob(options) {
  const name = `GPTQ${options.length > 0 ? ', static groups' : ''}`
  return {
    Pare: () => {
      const { seconds, statistics, solving } = pare('gptq', model, flags.text, ...options).result
      return {
        [`${name}, s`]: seconds,
        [`${name}: statistics, factors, sweep, s`]: statistics + solving,
      }
    },
    PyTorch: () => {
      const found = torch('torch_gptq.py', model, flags.calibration, ...options)
      return {
        [`${name}, s`]: found.total_s,
        [`${name}: statistics, factors, sweep, s`]: found.statistics_factors_sweep_s,
      }
    },
    ...(options.length > 0 && flags.llmcompressor
      ? { 'llm-compressor': () => ({ [`${name}, s`]: llmCompressor('gptq').total_s }) }
      : {}),
  }
}

/** Half of the weights, without a pattern. */
function pruningJob(method) {
  return {
    Pare: () => {
      const { seconds, statistics, solving } = pare(method, model, flags.text).result
      return { [`${method}, s`]: seconds, [`${method}: statistics and weights, s`]: statistics + solving }
    },
    ...(flags.llmcompressor
      ? { 'llm-compressor': () => ({ [`${method}, s`]: llmCompressor(method).total_s }) }
      : {}),
  }
}

/** The middle, least and most of some readings, as `128.7 (124.4 to 143.1)`. */
function spread(readings) {
  const sorted = readings.toSorted((a, b) => a - b)
  const middle = sorted[Math.floor(sorted.length / 2)]
  const text = `${middle.toFixed(1)} (${sorted[0].toFixed(1)} to ${sorted.at(-1).toFixed(1)})`
  return { middle, text }
}

const chosen = flags.jobs.split(',')
const needsModel = chosen.some((name) => !name.startsWith('train'))
if ((needsModel && !model) || !flags.torch || chosen.some((name) => !Object.hasOwn(jobs, name))) {
  process.stderr.write(
    `usage: node bench/turns.js MODEL --torch PYTHON …, with --jobs of ${Object.keys(jobs).join(',')}\n`,
  )
  process.exit(2)
}

const readings = new Map()
for (let round = 1; round <= Number(flags.rounds); round++) {
  for (const job of chosen) {
    for (const [program, measure] of Object.entries(jobs[job])) {
      for (const [work, value] of Object.entries(measure())) {
        process.stderr.write(`round ${round}: ${work}: ${program} ${value.toFixed(1)}\n`)
        if (!readings.has(work)) readings.set(work, new Map())
        const row = readings.get(work)
        row.set(program, [...(row.get(program) ?? []), value])
      }
    }
  }
}

const memory = Math.round(totalmem() / 2 ** 30)
process.stdout.write(
  `${cpus()[0].model.trim()}, ${cpus().length} cores, ${memory} GiB, Node ${process.version.slice(1)}, ` +
    `${flags.threads} threads, ${flags.rounds} rounds\n\n` +
    '| work | program | median (least to most) | Pare / program |\n| --- | --- | --- | --- |\n',
)
for (const [work, row] of readings) {
  const own = spread(row.get('Pare')).middle
  for (const [program, values] of row) {
    const { middle, text } = spread(values)
    process.stdout.write(`| ${work} | ${program} | ${text} | ${(own / middle).toFixed(2)} |\n`)
  }
}
