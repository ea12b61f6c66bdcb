/**
 * Times Pare at the work that bench/peers gives to other programs. Prints JSON. Run it on an idle machine:
 *
 *   node bench/pare.js matmul
 *   node bench/pare.js prefill MODEL.gguf
 *   node bench/pare.js gptq MODEL.gguf TEXT.txt [--samples 64] [--length 512] [--static-groups]
 *   node bench/pare.js sparsegpt|wanda MODEL.gguf TEXT.txt [--samples 64] [--length 512]
 *
 * `gptq` is 3 bits, groups of 64, symmetric, act-order; the pruners set half of the weights to zero. Without evaluation;
 * forwards in f32. `--threads N` limits all
 * of them. `bench/turns.js` runs this and the scripts of bench/peers in turns.
 */
import { cpus } from 'node:os'
import { parseArgs } from '../.ci/arguments.js'
import { InputSquares } from '../dist/calibrate/input_squares.js'
import { GramStatistic } from '../dist/calibrate/statistics.js'
import { drawSamples, readTokens } from '../dist/calibrate/text_samples.js'
import { walk } from '../dist/calibrate/walk.js'
import { openModel } from '../dist/models/load_model.js'
import { affineGrid } from '../dist/nn/grid.js'
import { denseSource } from '../dist/nn/weight_source.js'
import { sparsegpt } from '../dist/prune/sparsegpt.js'
import { wanda } from '../dist/prune/wanda.js'
import { gptq } from '../dist/quantize/gptq.js'
import { instructionSet, matmul, randomStream, scope, setThreads, threads } from '../dist/tensor/index.js'

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string' },
    samples: { type: 'string', default: '64' },
    length: { type: 'string', default: '512' },
    'static-groups': { type: 'boolean', default: false },
  },
})
const [job, ...rest] = positionals
if (flags.threads) setThreads(Number(flags.threads))
const machine = {
  processor: cpus()[0].model,
  cores: cpus().length,
  instructionSet: instructionSet(),
  threads: threads(),
  node: process.version,
}

/** Median seconds of `times` calls, after one that warms up. */
function median(times, body) {
  body()
  const seconds = Array.from({ length: times }, () => {
    const start = performance.now()
    body()
    return (performance.now() - start) / 1000
  })
  return seconds.sort((a, b) => a - b)[Math.floor(times / 2)]
}

function products() {
  const stream = randomStream(0, 'bench')
  return [1024, 2048].map((n) => {
    const [a, b] = [stream.normal([n, n], 'f32'), stream.normal([n, n], 'f32')]
    const seconds = median(21, () => scope(() => void matmul(a, b)))
    return { n, seconds, gflops: (2 * n ** 3) / seconds / 1e9 }
  })
}

function prefill(path) {
  const open = openModel(path)
  const ids = Uint32Array.from({ length: 512 }, (_, i) => (i * 7919) % open.model.config.vocabulary)
  return ['f32', 'bf16'].map((dtype) =>
    scope(() => {
      const resident = open.model.load(dtype)
      const seconds = median(5, () => scope(() => void resident.forward(ids)))
      return { dtype, tokens: 512, seconds, tokensPerSecond: 512 / seconds }
    }),
  )
}

/** By name; each with the grid that it rounds to, where it does. */
const methods = {
  gptq: () => gptq({ actOrder: true, staticGroups: flags['static-groups'] }),
  sparsegpt: () => sparsegpt({ sparsity: 0.5 }),
  wanda: () => wanda({ sparsity: 0.5 }),
}

async function compression(name, path, text) {
  const [samples, length] = [Number(flags.samples), Number(flags.length)]

  const open = openModel(path)
  const tokens = readTokens([text], { tokenizer: open.tokenizer(), chatTemplates: open.chatTemplates() })
  const drawn = drawSamples(tokens, { samples, length }).samples
  const method = methods[name]()
  const grid = name === 'gptq' ? affineGrid({ bits: 3, groupSize: 64, symmetric: true }) : undefined
  const spent = { statistics: 0, solving: 0 }
  const timed = (name, body) => {
    const start = performance.now()
    const result = body()
    spent[name] += (performance.now() - start) / 1000
    return result
  }
  const gathered = new Map()
  const start = performance.now()
  await walk({
    model: open.model,
    samples: drawn,
    visitor: {
      observe: ([first], x) =>
        timed('statistics', () => {
          if (!gathered.has(first)) gathered.set(first, statisticOf(method, first.name, x.extent(-1)))
          gathered.get(first).add(x)
        }),
      compress: (linears) =>
        timed('solving', () => {
          const statistic = gathered.get(linears[0])
          const statistics = statistic.current()
          for (const linear of linears) {
            const dense = linear.source.dense()
            const edit = method.compress({ name: linear.name, dense, current: dense, statistics, grid })
            linear.source = denseSource(edit.decoded)
          }
          statistic.dispose?.()
          gathered.delete(linears[0])
        }),
    },
  })
  const seconds = (performance.now() - start) / 1000
  return {
    samples: drawn.length,
    length,
    ...(name === 'gptq' ? { staticGroups: flags['static-groups'] } : {}),
    seconds,
    ...spent,
    forwards: seconds - spent.statistics - spent.solving,
  }
}

const statisticOf = ({ needs }, name, inputs) =>
  needs.includes('gram') ? new GramStatistic(name, inputs) : new InputSquares(inputs)

const jobs = {
  matmul: () => products(),
  prefill: () => prefill(rest[0]),
  ...Object.fromEntries(Object.keys(methods).map((name) => [name, () => compression(name, ...rest)])),
}
if (!Object.hasOwn(jobs, job)) {
  process.stderr.write(
    'usage: node bench/pare.js matmul | prefill MODEL | gptq|sparsegpt|wanda MODEL TEXT [--samples N] [--length N] [--static-groups] [--threads N]\n',
  )
  process.exit(2)
}
process.stdout.write(`${JSON.stringify({ job, machine, result: await jobs[job]() }, null, 2)}\n`)
