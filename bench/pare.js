/**
 * Times Pare at the work that bench/peers gives to other programs. Prints JSON. Run it on an idle machine:
 *
 *   node bench/pare.js matmul
 *   node bench/pare.js prefill MODEL.gguf
 *   node bench/pare.js gptq MODEL.gguf TEXT.txt [--samples 64] [--length 512] [--static-groups]
 *   node bench/pare.js spqr|sparsegpt|wanda MODEL.gguf TEXT.txt [--samples 64] [--length 512]
 *
 * `gptq` is 3 bits, groups of 64, symmetric, act-order; `spqr` has its defaults; the pruners set half of the weights to
 * zero. Without evaluation; forwards in f32. A text that ends in .json holds token windows, as bench/peers has them, of
 * which the first are taken. `--layers N` stops after so many blocks, `--threads N` limits all of them. `bench/turns.js`
 * runs this and the scripts of bench/peers in turns.
 */
import { readFileSync } from 'node:fs'
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
import { spqr } from '../dist/quantize/spqr.js'
import { relativeErrors } from '../dist/run/relative_errors.js'
import { instructionSet, matmul, randomStream, scope, setThreads, threads } from '../dist/tensor/index.js'

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string' },
    samples: { type: 'string', default: '64' },
    length: { type: 'string', default: '512' },
    layers: { type: 'string' },
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
  spqr: () => spqr(),
  sparsegpt: () => sparsegpt({ sparsity: 0.5 }),
  wanda: () => wanda({ sparsity: 0.5 }),
}

/** Windows of tokens: those of a JSON file, or drawn from a text. */
function samplesOf(open, text) {
  const [samples, length] = [Number(flags.samples), Number(flags.length)]
  if (text.endsWith('.json'))
    return JSON.parse(readFileSync(text, 'utf8'))
      .slice(0, samples)
      .map((window) => Uint32Array.from(window.slice(0, length)))
  const tokens = readTokens([text], { tokenizer: open.tokenizer(), chatTemplates: open.chatTemplates() })
  return drawSamples(tokens, { samples, length }).samples
}

async function compression(name, path, text) {
  const open = openModel(path)
  const drawn = samplesOf(open, text)
  const { model } = open
  const stages = model.stages.slice(0, flags.layers && Number(flags.layers))
  const method = methods[name]()
  const grid = name === 'gptq' ? affineGrid({ bits: 3, groupSize: 64, symmetric: true }) : undefined
  const spent = { statistics: 0, solving: 0, measurement: 0 }
  const total = { errors: 0, linears: 0, weights: 0, bits: 0, outliers: 0 }
  const timed = (phase, body) => {
    const start = performance.now()
    const result = body()
    spent[phase] += (performance.now() - start) / 1000
    return result
  }
  const measure = (dense, { source, decoded }, statistics) =>
    timed('measurement', () => {
      total.errors += relativeErrors(dense, [decoded], statistics)[0]
      total.linears++
      total.weights += dense.size
      if (name !== 'spqr') return
      total.bits += source.size().storedBits
      total.outliers += outliersOf(source.values)
    })
  const gathered = new Map()
  const start = performance.now()
  await walk({
    model: {
      stages,
      embed: (ids) => model.embed(ids),
      context: (tokens) => model.context(tokens),
    },
    samples: drawn,
    visitor: {
      observe: ([first], x) =>
        timed('statistics', () => {
          if (!gathered.has(first)) gathered.set(first, statisticOf(method, first.name, x.extent(-1)))
          gathered.get(first).add(x)
        }),
      compress(linears) {
        const statistic = gathered.get(linears[0])
        const statistics = statistic.current()
        for (const linear of linears) {
          const [dense, edit] = timed('solving', () => {
            const dense = linear.source.dense()
            return [dense, method.compress({ name: linear.name, dense, current: dense, statistics, grid })]
          })
          measure(dense, edit, statistics)
          linear.source = denseSource(edit.decoded)
        }
        statistic.dispose?.()
        gathered.delete(linears[0])
      },
    },
  })
  const { statistics, solving, measurement } = spent
  const seconds = (performance.now() - start) / 1000 - measurement
  return {
    ...{ samples: drawn.length, length: drawn[0].length, layers: stages.length },
    ...(name === 'gptq' ? { staticGroups: flags['static-groups'] } : {}),
    ...{ seconds, statistics, solving, forwards: seconds - statistics - solving },
    relativeError: total.errors / total.linears,
    ...(name === 'spqr'
      ? { outlierShare: total.outliers / total.weights, bitsPerWeight: total.bits / total.weights }
      : {}),
  }
}

/** Entries beside the grid, in any order of columns. */
const outliersOf = ({ kind, values, terms }) =>
  kind === 'permuted' ? outliersOf(values) : terms.find((term) => term.kind === 'sparse_rows').values.length

const statisticOf = ({ needs }, name, inputs) =>
  needs.includes('gram') ? new GramStatistic(name, inputs) : new InputSquares(inputs)

const jobs = {
  matmul: () => products(),
  prefill: () => prefill(rest[0]),
  ...Object.fromEntries(Object.keys(methods).map((name) => [name, () => compression(name, ...rest)])),
}
if (!Object.hasOwn(jobs, job)) {
  process.stderr.write(
    'usage: node bench/pare.js matmul | prefill MODEL | gptq|spqr|sparsegpt|wanda MODEL TEXT [--samples N] [--length N] [--layers N] [--static-groups] [--threads N]\n',
  )
  process.exit(2)
}
process.stdout.write(`${JSON.stringify({ job, machine, result: await jobs[job]() }, null, 2)}\n`)
