/**
 * Bytes a second that products of one row read of their weights: over a ring of matrices of at least four times the
 * last-level cache, beside what memory can do, and of a matrix in the nearest cache, on one thread. Prints a table in Markdown.
 * Run it with nothing else running:
 *
 *   node bench/product_rates.js [--rounds 7] [--threads 2] [--match Q4]
 *
 * A product is near the limit of this machine where it reads at 70% of the lower of both: the rate of memory, and the rate of
 * its own arithmetic on all threads.
 */
import { cpus, totalmem } from 'node:os'
import { parseArgs } from '../.ci/arguments.js'
import { blockTypeNames } from '../dist/nn/block_types.js'
import { packedSource } from '../dist/nn/values/packed_product.js'
import {
  fromBytes,
  instructionSet,
  keepFreedMemory,
  linear,
  randomStream,
  scope,
  setThreads,
  zeros,
} from '../dist/tensor/index.js'
import { callNative } from '../dist/tensor/native.js'
import { blocks, grid, lastLevelCache, middle, seconds, spread } from './decoding_rates.js'

const COLUMNS = 4096
const ROWS = 4096
/** Rows of the matrix in the nearest cache, of 2 KiB each at 4 bits. */
const NEAR_ROWS = 8
const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    threads: { type: 'string', default: '2' },
    match: { type: 'string', default: '' },
  },
})
const [rounds, threads] = [Number(flags.rounds), Number(flags.threads)]

/** A packed weight as what multiplies a row, and how often so many rows of it are read by one thread. */
function packed(values, activations) {
  const source = packedSource(values, activations)
  const { form, bytes } = source.packed.weight
  return {
    bytes: bytes.size,
    product: (x) => source.matmul(x),
    repeat: (x, times) =>
      callNative((native) => native.repeatPackedProduct(form, bytes.handle, x.handle, activations, times)),
  }
}

function floats(type, rows, seed) {
  const weight = randomStream(seed, 'weight').normal([rows, COLUMNS]).cast(type)
  return { bytes: weight.size * (type === 'f32' ? 4 : 2), product: (x) => linear(x.cast(type), weight) }
}

const cases = [
  { name: 'f32', make: (rows, seed) => floats('f32', rows, seed) },
  { name: 'bf16', make: (rows, seed) => floats('bf16', rows, seed) },
  ...['f32', 'int8'].flatMap((activations) => [
    ...blockTypeNames.map((type) => ({
      name: `${type}, ${activations}`,
      make: (rows, seed) => packed(blocks(type, rows, seed).values, activations),
    })),
    ...[2, 3, 4, 8].flatMap((bits) =>
      [32, 128].map((width) => ({
        name: `grid, ${bits} bits, groups of ${width}, ${activations}`,
        make: (rows, seed) => packed(grid(bits, width, rows, seed).values, activations),
      })),
    ),
  ]),
]

/** Readings of memory over as much as a ring holds, and at least four times the last-level cache. */
function memoryRates() {
  return scope(() => {
    const bytes = 8 * lastLevelCache()
    const source = fromBytes(new Uint8Array(bytes).fill(1), [bytes], 'u8')
    // Few numbers are written for many bytes that are read.
    const target = zeros([2 ** 22])
    const read = () => callNative((native) => native.streamMemory(source.handle, target.handle, false))
    read()
    return Array.from({ length: 3 * rounds }, () => bytes / seconds(read) / 1e9)
  })
}

function ringRates(make, x) {
  return scope(() => {
    const first = make(ROWS, 0)
    const count = Math.ceil((4 * lastLevelCache()) / first.bytes)
    const ring = [first, ...Array.from({ length: count - 1 }, (_, seed) => make(ROWS, seed + 1))]
    const all = () => scope(() => void ring.map(({ product }) => product(x)))
    all()
    return Array.from({ length: rounds }, () => (count * first.bytes) / seconds(all) / 1e9)
  })
}

function nearRates(make, x) {
  return scope(() => {
    const { repeat, bytes } = make(NEAR_ROWS, 0)
    if (!repeat) return []
    const times = Math.ceil(2e8 / bytes)
    repeat(x, times)
    return Array.from({ length: rounds }, () => (times * bytes) / seconds(() => repeat(x, times)) / 1e9)
  })
}

const machine = `${cpus()[0].model}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${instructionSet()}, Node ${process.version}`
console.log(`${machine}; a ring of matrices [${ROWS}, ${COLUMNS}], one row of inputs, ${threads} threads\n`)
setThreads(threads)
keepFreedMemory(true)
const memory = memoryRates()
console.log(`Memory reads ${spread(memory)} GB/s.\n`)
console.log('| weight, activations | ring, GB/s | nearest cache, one thread | of the limit |')
console.log('| --- | --- | --- | --- |')
for (const { name, make } of cases.filter((each) => each.name.includes(flags.match)))
  scope(() => {
    const x = randomStream(9, 'inputs').normal([1, COLUMNS])
    const ring = ringRates(make, x)
    const near = nearRates(make, x)
    const limit = Math.min(
      middle(memory),
      near.length > 0 ? threads * middle(near) : Number.POSITIVE_INFINITY,
    )
    const cells = [spread(ring), near.length > 0 ? spread(near) : '', (middle(ring) / limit).toFixed(2)]
    console.log(`| ${[name, ...cells].join(' | ')} |`)
  })
