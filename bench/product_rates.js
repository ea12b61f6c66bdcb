/**
 * Bytes a second that products of one row of inputs, or of a few, read of their weights: over a ring of matrices of at least four times the
 * last-level cache, beside what memory can do, and of a matrix in the nearest cache, on one thread and times their number. Prints a table in Markdown.
 * Run it with nothing else running:
 *
 *   node bench/product_rates.js [--rounds 7] [--threads 2] [--inputs 1] [--match Q4]
 *
 * A product is near the limit of this machine where it reads at 70% of the lower of both: the rate of memory, and the rate of
 * its own arithmetic on all threads.
 */
import { cpus, totalmem } from 'node:os'
import { parseArgs } from '../.ci/arguments.js'
import { blockTypeNames } from '../dist/nn/block_types.js'
import { packLevels } from '../dist/nn/values/column_levels.js'
import { packedSource } from '../dist/nn/values/packed_product.js'
import { residentSource } from '../dist/nn/values/resident_source.js'
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
import { blocks, codebooks, grid, lastLevelCache, middle, seconds, spread } from './decoding_rates.js'

const COLUMNS = 4096
const ROWS = 4096
/** Rows of the matrix in the nearest cache, of 2 KiB each at 4 bits. */
const NEAR_ROWS = 8
/** Bytes of one in the second-level caches, where kernels cannot be called again and again. */
const SECOND_BYTES = 2 ** 20
const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    threads: { type: 'string', default: '2' },
    inputs: { type: 'string', default: '1' },
    match: { type: 'string', default: '' },
  },
})
const [rounds, threads, inputs] = [flags.rounds, flags.threads, flags.inputs].map(Number)

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

/** Half of the weights, of every four two or anywhere, with 32 of 64 in each chunk. */
function masked(kind, rows, seed) {
  const marks = new Uint8Array((rows * COLUMNS) / 8).map((_, i) =>
    kind.includes('2:4') ? (i % 2 ? 0x55 : 0xa5) : ((i * 2654435761) >>> 24) ^ 0,
  )
  let living = 0
  for (const byte of marks) living += bitCounts[byte]
  const mask = { shape: [rows, COLUMNS], mask: marks }
  if (kind.startsWith('4 bits')) {
    const { values } = grid(4, 64, rows, seed)
    const codes = values.codes.reshape([values.codes.size]).slice(0, 0, living).contiguous()
    return { ...values, ...mask, kind: 'masked_grid', codes }
  }
  return { ...mask, kind: 'bitmask', kept: randomStream(seed, 'kept').normal([living]).cast('f16') }
}
/** As SpQR stores them: groups of 16 columns, tiles of 16 rows, scales and zeros of 3 bits. */
function twoLevels(bits, rows, seed) {
  const groups = COLUMNS / 16
  const codes = (columns, levels) => {
    const stream = randomStream(seed, `codes of ${columns}`)
    return stream.uniform([rows, columns]).mul(levels).sub(0.5).cast('u8')
  }
  const second = (name) =>
    randomStream(seed, name)
      .normal([Math.ceil(rows / 16), groups])
      .cast('f16')
      .cast('f32')
  return {
    ...{ kind: 'bilevel', bits, scaleBits: 3, zeroBits: 3, tile: { rows: Math.min(16, rows), columns: 16 } },
    ...{ codes: codes(COLUMNS, 2 ** bits), scaleCodes: codes(groups, 8), zeroCodes: codes(groups, 8) },
    second: {
      ...{ scaleScale: second('ss'), scaleZero: second('sz') },
      ...{ zeroScale: second('zs'), zeroZero: second('zz') },
    },
  }
}

/** As QuIP stores them. */
function turned(bits, rows, seed) {
  const { values } = grid(bits, 128, rows, seed)
  const columnScales = randomStream(seed, 'factors').uniform([COLUMNS]).add(0.5).cast('f16').cast('f32')
  return { kind: 'rotated_grid', bits, codes: values.codes, scale: 1, columnScales, seed }
}

/** As BAQ stores them: about `bits` bits a column, more for some and fewer for others. */
function columnLevels(bits, rows, seed) {
  const shares = randomStream(seed, 'shares').normal([COLUMNS]).mul(0.6).add(bits).toArray()
  const counts = Uint16Array.from(shares, (share) => Math.min(256, Math.max(2, Math.round(2 ** share))))
  const levels = fromBytes(new Uint8Array(counts.buffer), [COLUMNS], 'u16')
  const codes = new Uint16Array(COLUMNS * rows)
  for (let place = 0; place < codes.length; place++)
    codes[place] = (Math.imul(place + seed, 2654435761) >>> 16) % counts[Math.floor(place / rows)]
  const highs = randomStream(seed, 'ranges').uniform([rows]).add(0.5).cast('f16').cast('f32')
  const words = packLevels(fromBytes(new Uint8Array(codes.buffer), [COLUMNS, rows], 'u16'), levels)
  return {
    ...{ kind: 'column_levels', shape: [rows, COLUMNS], levels, words },
    ...{ lows: highs.mul(-1), highs, centred: false },
  }
}

/** So many entries of each hundred, at places that no pattern tells. */
function sparse(percent, rows, seed) {
  const each = Math.round((COLUMNS * percent) / 100)
  const columns = Uint32Array.from({ length: rows * each }, (_, entry) => {
    const [first, width] = [Math.floor(((entry % each) * COLUMNS) / each), Math.floor(COLUMNS / each)]
    return first + ((Math.imul(entry + seed, 2654435761) >>> 16) % width)
  })
  return {
    ...{ kind: 'sparse_rows', shape: [rows, COLUMNS], columns, valueType: 'f32' },
    rowOffsets: Uint32Array.from({ length: rows + 1 }, (_, row) => each * row),
    values: randomStream(seed, 'entries')
      .normal([rows * each])
      .toArray(),
  }
}

/** Bits of each byte. */
const bitCounts = Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length)

/** A weight in another form, whose bytes are those that products read. */
function resident(values, activations) {
  const source = residentSource(values, activations)
  let bytes = 0
  for (const tensor of source.resources()) bytes += tensor ? tensor.bytes().length : 0
  return { bytes, product: (x) => source.matmul(x) }
}

const cases = [
  { name: 'f32', make: (rows, seed) => floats('f32', rows, seed) },
  { name: 'bf16', make: (rows, seed) => floats('bf16', rows, seed) },
  ...['f32', 'int8'].flatMap((activations) =>
    ['f16 2:4', 'f16 half', '4 bits 2:4', '4 bits half'].map((kind) => ({
      name: `mask over ${kind}, ${activations}`,
      make: (rows, seed) => resident(masked(kind, rows, seed), activations),
    })),
  ),
  ...[2, 3, 4].map((bits) => ({
    name: `two levels, ${bits} bits, groups of 16`,
    make: (rows, seed) => resident(twoLevels(bits, rows, seed)),
  })),
  ...['f32', 'int8'].flatMap((activations) =>
    [2, 3, 4].flatMap((bits) => [
      {
        name: `turned grid, ${bits} bits, ${activations}`,
        make: (rows, seed) => resident(turned(bits, rows, seed), activations),
        // A turn of the inputs is one for all rows, that of the outputs takes them whole.
        nearRows: ROWS,
      },
      {
        name: `levels a column, about ${bits} bits, ${activations}`,
        make: (rows, seed) => resident(columnLevels(bits, rows, seed), activations),
      },
    ]),
  ),
  ...[1, 10].map((percent) => ({
    name: `sparse rows, ${percent}%`,
    make: (rows, seed) => resident(sparse(percent, rows, seed)),
  })),
  {
    name: 'codebooks, 2 of 256 entries of 8',
    make: (rows, seed) => resident(codebooks(2, 8, rows, seed).values),
    // All rows share the tables of a thread.
    nearRows: ROWS,
  },
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

/** Reads as much memory as a ring holds, and at least four times the last-level cache; gives the rate. */
function memoryReader() {
  const bytes = 8 * lastLevelCache()
  const source = fromBytes(new Uint8Array(bytes).fill(1), [bytes], 'u8')
  // Few numbers are written for many bytes that are read.
  const target = zeros([2 ** 22])
  const read = () => callNative((native) => native.streamMemory(source.handle, target.handle, false))
  read()
  return () => bytes / seconds(read) / 1e9
}

/** Rates of a ring of matrices, and of memory in between, whose own rate moves. */
function ringRates(make, x, readMemory) {
  return scope(() => {
    const first = make(ROWS, 0)
    const count = Math.ceil((4 * lastLevelCache()) / first.bytes)
    const ring = [first, ...Array.from({ length: count - 1 }, (_, seed) => make(ROWS, seed + 1))]
    const all = () => scope(() => void ring.map(({ product }) => product(x)))
    all()
    const rates = Array.from({ length: rounds }, () => ({
      memory: readMemory(),
      ring: (count * first.bytes) / seconds(all) / 1e9,
    }))
    return { memory: rates.map(({ memory }) => memory), ring: rates.map(({ ring }) => ring) }
  })
}

/** From the second-level caches of all threads, call by call. */
function secondRates(make, x, nearRows) {
  const rowBytes = make(16, 0).bytes / 16
  const { product, bytes } = make(nearRows ?? 16 * Math.ceil(SECOND_BYTES / rowBytes / 16), 0)
  const all = () => scope(() => Array.from({ length: 50 }, () => product(x)).length)
  all()
  return Array.from({ length: rounds }, () => (50 * bytes) / seconds(all) / 1e9)
}

/** Of all threads. */
function nearRates(make, x, nearRows) {
  return scope(() => {
    const { repeat, bytes } = make(NEAR_ROWS, 0)
    if (!repeat || inputs > 1) return secondRates(make, x, nearRows)
    const times = Math.ceil(2e8 / bytes)
    repeat(x, times)
    const rate = () => (threads * times * bytes) / seconds(() => repeat(x, times)) / 1e9
    return Array.from({ length: rounds }, rate)
  })
}

const machine = `${cpus()[0].model}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${instructionSet()}, Node ${process.version}`
console.log(
  `${machine}; a ring of matrices [${ROWS}, ${COLUMNS}], ${inputs} rows of inputs, ${threads} threads\n`,
)
setThreads(threads)
keepFreedMemory(true)
const readMemory = memoryReader()
console.log('| weight, activations | ring, GB/s | memory beside it | from the caches | of the limit |')
console.log('| --- | --- | --- | --- | --- |')
for (const { name, make, nearRows } of cases.filter((each) => each.name.includes(flags.match)))
  scope(() => {
    const x = randomStream(9, 'inputs').normal([inputs, COLUMNS])
    const { memory, ring } = ringRates(make, x, readMemory)
    const near = nearRates(make, x, nearRows)
    const limit = Math.min(middle(memory), middle(near))
    console.log(
      `| ${[name, ...[ring, memory, near].map(spread), (middle(ring) / limit).toFixed(2)].join(' | ')} |`,
    )
  })
