/** Rates of decoding for bench/formats.js, each beside what memory does at the same proportion of reads and writes. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { blockTypeNames, blockTypeOf, rowBytes } from '../dist/nn/block_types.js'
import { neighbourGroups } from '../dist/nn/grid.js'
import { decodeStored } from '../dist/nn/values/values.js'
import {
  fromBytes,
  keepFreedMemory,
  randomStream,
  scope,
  setThreads,
  tensor,
  trimPool,
  zeros,
} from '../dist/tensor/index.js'
import { callNative } from '../dist/tensor/native.js'

const COLUMNS = 4096
/** Matrices of the ring: together at least four times the last-level cache. */
const RING = 4

/** Bytes of the last-level cache, as Linux tells it; 32 MiB elsewhere. */
export function lastLevelCache() {
  try {
    const text = readFileSync('/sys/devices/system/cpu/cpu0/cache/index3/size', 'utf8')
    return Number.parseInt(text, 10) * 1024
  } catch {
    return 2 ** 25
  }
}

/** Bytes below 60, in which no f16 or bf16 is infinite; every matrix has others. */
function someBytes(count, seed) {
  const bytes = new Uint8Array(count)
  let state = (seed + 1) * 0x9e3779b9
  for (let i = 0; i < count; i++) {
    state = (state + 0x6d2b79f5) | 0
    bytes[i] = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) >>> 24) % 60
  }
  return bytes
}

export function blocks(type, rows, seed) {
  const width = rowBytes(type, COLUMNS)
  const bytes = fromBytes(someBytes(rows * width, seed), [rows, width], 'u8')
  return { read: rows * width, values: { kind: 'blocks', type, shape: [rows, COLUMNS], bytes } }
}

export function grid(bits, width, rows, seed) {
  const groups = COLUMNS / width
  const codes = someBytes(rows * COLUMNS, seed).map((byte) => byte % 2 ** bits)
  const values = {
    kind: 'grid',
    grid: { bits, groupSize: width, symmetric: false, scaleType: 'f16' },
    codes: fromBytes(codes, [rows, COLUMNS], 'u8'),
    scales: randomStream(seed, 'scales').normal([rows, groups]),
    zeros: fromBytes(new Uint8Array(rows * groups).fill(2 ** (bits - 1)), [rows, groups], 'u8'),
    groupOf: neighbourGroups(COLUMNS, width),
  }
  return { read: rows * COLUMNS + 5 * rows * groups, values }
}

export function codebooks(books, bits, rows, seed) {
  const [groups, entries] = [COLUMNS / 8, 2 ** bits]
  const stream = randomStream(seed, 'codebooks')
  const codes = Uint32Array.from(
    someBytes(rows * groups * books, seed),
    (byte, i) => (Math.imul(byte + 60 * i, 2654435761) >>> 16) % entries,
  )
  const values = {
    kind: 'codebook',
    shape: [rows, COLUMNS],
    bits,
    codes: tensor(codes, [rows, groups, books], 'u32'),
    codebooks: stream.normal([books, entries, 1, 8]),
    scales: stream.normal([rows]),
  }
  return { read: 4 * codes.length, values }
}

/** Two of four are kept, the first and the third or the second and the fourth. */
function bitmask(rows, seed) {
  const mask = someBytes((rows * COLUMNS) / 8, seed).map((byte) => (byte % 2 ? 0x55 : 0xa5))
  const kept = randomStream(seed, 'kept')
    .normal([(rows * COLUMNS) / 2])
    .cast('f16')
  return {
    read: mask.length + rows * COLUMNS,
    values: { kind: 'bitmask', shape: [rows, COLUMNS], mask, kept },
  }
}

/** Everything that is measured, with the name that Python's gguf knows it by. */
const cases = [
  ...blockTypeNames.map((type) => ({
    name: type,
    bits: (8 * blockTypeOf(type).blockBytes) / blockTypeOf(type).blockLength,
    peer: type,
    make: (rows, seed) => blocks(type, rows, seed),
  })),
  ...[2, 3, 4, 8].flatMap((bits) =>
    [32, 64, 128].map((width) => ({
      name: `grid, ${bits} bits, groups of ${width}`,
      make: (rows, seed) => grid(bits, width, rows, seed),
    })),
  ),
  { name: 'codebooks, 2 of 256 entries of 8', make: (rows, seed) => codebooks(2, 8, rows, seed) },
  { name: 'codebook, 1 of 65536 entries of 8', make: (rows, seed) => codebooks(1, 16, rows, seed) },
  { name: 'bitmask, 2 of 4 in f16', make: bitmask },
]

export const seconds = (body) => {
  const start = performance.now()
  body()
  return (performance.now() - start) / 1000
}
export const middle = (list) => list.toSorted((a, b) => a - b)[list.length >> 1]
export const spread = (list) => {
  const all = list.toSorted((a, b) => a - b)
  return `${middle(all).toFixed(1)} (${all[0].toFixed(1)} to ${all.at(-1).toFixed(1)})`
}

/** Rates of all matrices of a ring, whose results stay alive together. */
function ringRates(ring, bytes) {
  return scope(() => ring.map(({ values }) => bytes / seconds(() => decodeStored(values)) / 1e9))
}

/** Rates of writing a ring of results while as much is read as decoding reads. */
function streamRates(sources, targets, bytes, pastCaches) {
  return targets.map((target, i) => {
    const write = () =>
      callNative((native) => native.streamMemory(sources[i].handle, target.handle, pastCaches))
    return bytes / seconds(write) / 1e9
  })
}

/** Readings of one case in turns with those of memory. */
function measure(make, { rows, rounds, threads }) {
  const bytes = 4 * rows * COLUMNS
  return scope(() => {
    const ring = Array.from({ length: RING }, (_, seed) => make(rows, seed))
    const targets = ring.map(() => zeros([rows, COLUMNS]))
    const sources = ring.map(({ read }) => fromBytes(new Uint8Array(read).fill(1), [read], 'u8'))
    return threads.map((count) => {
      setThreads(count)
      trimPool()
      const fresh = ringRates(ring, bytes)
      const [decoded, through, past] = [[], [], []]
      for (let round = 0; round < rounds; round++) {
        decoded.push(...ringRates(ring, bytes))
        through.push(...streamRates(sources, targets, bytes, false))
        past.push(...streamRates(sources, targets, bytes, true))
      }
      const memory = Math.max(middle(through), middle(past))
      return { decoded, fresh, memory, ratio: middle(decoded) / memory }
    })
  })
}

function peerRates(python) {
  const script = fileURLToPath(new URL('peers/gguf_dequantize.py', import.meta.url))
  const types = cases.flatMap(({ peer }) => peer ?? [])
  const { status, stdout, stderr } = spawnSync(python, [script, ...types], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${script} ended with ${status}:\n${stderr}`)
  return JSON.parse(stdout)
}

/** Copies of some memory, and writes of it, as a table. */
export function* memoryTable({ rows, rounds, threads }) {
  const bytes = 4 * rows * COLUMNS
  yield '| threads | read for each byte written | through the caches, GB/s written | past the caches |'
  yield '| --- | --- | --- | --- |'
  for (const count of threads)
    for (const share of [0, 0.25, 1])
      yield scope(() => {
        setThreads(count)
        const targets = Array.from({ length: RING }, () => zeros([rows, COLUMNS]))
        const read = Math.round(share * bytes)
        const sources = targets.map(() => fromBytes(new Uint8Array(read).fill(1), [read], 'u8'))
        const rates = [false, true].map((past) => {
          streamRates(sources, targets, bytes, past)
          return Array.from({ length: rounds }, () => streamRates(sources, targets, bytes, past)).flat()
        })
        return `| ${count} | ${share} | ${rates.map(spread).join(' | ')} |`
      })
}

/**
 * A table in Markdown, its lines as they come: for each number of threads the rate, what memory does, and their ratio.
 *
 * @param options rows of a matrix, rounds, numbers of threads, python with gguf, and a part of the names of what is measured
 */
export function* decodingTable({ python, match, ...options }) {
  const peers = python ? peerRates(python) : {}
  const heads = options.threads.flatMap((count) => {
    const of = count === 1 ? '1 thread' : `${count} threads`
    return [`${of}, GB/s`, 'memory', 'ratio', 'fresh pages']
  })
  const columns = ['values', 'bits', ...heads, 'gguf of Python']
  yield `| ${columns.join(' | ')} |`
  yield `|${' --- |'.repeat(columns.length)}`
  keepFreedMemory(true)
  for (const { name, bits, peer, make } of cases.filter((each) => each.name.includes(match))) {
    const cells = measure(make, options).flatMap(({ decoded, fresh, memory, ratio }) => [
      spread(decoded),
      memory.toFixed(1),
      ratio.toFixed(2),
      middle(fresh).toFixed(1),
    ])
    const other = peers[peer] ? (peers[peer] / 1e9).toFixed(2) : ''
    yield `| ${[name, bits ?? '', ...cells, other].join(' | ')} |`
  }
  keepFreedMemory(false)
}
