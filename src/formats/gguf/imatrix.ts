/**
 * Importance matrices of llama.cpp: how much each input of a weight is used, measured on a text.
 *
 *   importance_i = sum over tokens of x_i^2 / tokens
 *
 * GGUF files hold `NAME.in_sum2` with the sums and `NAME.counts` with the tokens, and what they were made from. Files from
 * before (`.dat`) are binary: entries, then for each its name, calls, values and means times calls; at the end calls and
 * the name of the text. Layouts: llama.cpp v0.4.0, tools/imatrix/imatrix.cpp and common/imatrix-loader.cpp.
 */
import { FormatError, OptionError, printable } from '../../tensor/errors.ts'
import { bytesOf } from '../../tensor/index.ts'
import { damaged } from '../archive.ts'
import { type ByteSource, openFile } from '../file.ts'
import { type GgufArchive, openGgufSource } from './container.ts'
import { Cursor } from './cursor.ts'
import { type GgufValue, gguf } from './metadata.ts'
import { createGguf } from './writer.ts'

/** What was seen of the inputs of one weight. */
export interface InputSquares {
  /** Sums of squares, [experts, in]; one expert where there are none. */
  readonly sums: Float32Array
  /** Tokens, [experts]. */
  readonly counts: Float32Array
}

export interface Imatrix {
  /** By the weight's name in GGUF files: `blk.0.attn_q.weight`. */
  readonly entries: ReadonlyMap<string, InputSquares>
  /** Names of the texts. */
  readonly datasets: readonly string[]
  /** Pieces of text that were read. */
  readonly chunks: number
  /** Tokens of a piece; 0 where the file does not say. */
  readonly chunkSize: number
}

/**
 * Reads either kind of file.
 *
 * @throws FormatError if it is none, is damaged, or holds sums that are negative or not finite; SourceError if it cannot
 * be read.
 * @example readImatrix('imatrix.gguf').entries.get('blk.0.attn_q.weight')
 */
export function readImatrix(path: string): Imatrix {
  const source = openFile(path)
  try {
    const isGguf = source.size >= 4 && new TextDecoder('latin1').decode(source.read(0, 4)) === 'GGUF'
    const imatrix = isGguf ? readArchive(openGgufSource(source), path) : readLegacy(source)
    if (imatrix.entries.size === 0)
      throw damaged(path, 'holds the importance of no weight; make it again', 'PARE_E_IMATRIX')
    return imatrix
  } finally {
    source.close()
  }
}

function readArchive(archive: GgufArchive, path: string): Imatrix {
  const fail = (what: string, facts = {}) => damaged(path, what, 'PARE_E_IMATRIX', facts)
  const { metadata, tensors } = archive
  const type = metadata.get('general.type')
  if (type?.value !== 'imatrix')
    throw fail(
      `is a GGUF file of ${type ? `the type ${printable(String(type.value), 40)}` : 'no named type'}, and an importance matrix has the type imatrix; give what llama-imatrix writes`,
    )
  const numbers = (name: string): Float32Array => {
    const info = tensors.get(name)
    if (!info) throw fail(`${printable(name)} is missing, and each sum needs its count; it is damaged`)
    if (info.type !== 'F32')
      throw fail(`${printable(name)} has the type ${printable(info.type)}, F32 is needed; make it again`)
    return checked(path, name, new Float32Array(archive.read(name).buffer as ArrayBuffer))
  }
  const entries = new Map<string, InputSquares>()
  // Tensors of other names may be added by later versions.
  for (const full of tensors.keys()) {
    const [, name, what] = /^(.+)\.(in_sum2|counts)$/s.exec(full) ?? []
    if (name === undefined) continue
    if (what === 'counts') {
      if (tensors.has(`${name}.in_sum2`)) continue
      throw fail(`${printable(name)} has counts and no sums; it is damaged`, { tensor: name })
    }
    const [sums, counts] = [numbers(full), numbers(`${name}.counts`)]
    if (!counts.every(Number.isInteger))
      throw fail(`${printable(name)} has counts of tokens that are no whole numbers; it is damaged`, {
        tensor: name,
      })
    if (counts.length === 0 || sums.length === 0 || sums.length % counts.length !== 0)
      throw fail(
        `${printable(name)}: ${sums.length} sums and ${counts.length} counts do not fit; it is damaged`,
        { tensor: name },
      )
    entries.set(name, { sums, counts })
  }
  const datasets = metadata.get('imatrix.datasets')
  return {
    entries,
    datasets: datasets?.type === 'array' && datasets.element === 'string' ? (datasets.value as string[]) : [],
    chunks: wholeOf(metadata.get('imatrix.chunk_count')),
    chunkSize: wholeOf(metadata.get('imatrix.chunk_size')),
  }
}

const wholeOf = (value: GgufValue | undefined): number => (value?.type === 'u32' ? value.value : 0)

/** An entry has a length of name, calls and a number of values, and at least one of each. */
const leastEntry = 4 + 1 + 4 + 4 + 4
const longestName = 1 << 12

function readLegacy(source: ByteSource): Imatrix {
  const path = source.name
  const cursor = new Cursor(source, source.size)
  const fail = (what: string) => damaged(path, what, 'PARE_E_IMATRIX', { position: cursor.position })
  const text = (length: number, what: string) => {
    if (length < 0 || length > longestName)
      throw fail(`${what} has ${length} bytes, 0 to ${longestName} are possible; it is no importance matrix`)
    return new TextDecoder().decode(cursor.bytes(length))
  }
  if (source.size < 4) throw fail('has less than 4 bytes; it is no importance matrix')
  const count = cursor.i32()
  if (count < 1 || count > cursor.remaining / leastEntry)
    throw fail(
      `promises ${count} entries, 1 to ${Math.floor(cursor.remaining / leastEntry)} are possible; it is no importance matrix, or cut`,
    )
  const entries = new Map<string, InputSquares>()
  for (let i = 0; i < count; i++) {
    const name = text(cursor.i32(), 'a name')
    const calls = cursor.i32()
    const values = cursor.i32()
    if (values < 1 || values > cursor.remaining / 4)
      throw fail(
        `${printable(name)} promises ${values} values, and ${cursor.remaining} bytes are left; it is cut`,
      )
    const sums = checked(path, name, new Float32Array(cursor.bytes(4 * values).buffer as ArrayBuffer))
    if (entries.has(name)) throw fail(`${printable(name)} stands twice; it is damaged`)
    // Values are means times calls; without calls they are means.
    entries.set(name, { sums, counts: Float32Array.of(Math.max(1, calls)) })
  }
  // Old writers end here.
  const chunks = cursor.remaining >= 4 ? Math.max(0, cursor.i32()) : 0
  const dataset = cursor.remaining >= 4 ? text(cursor.i32(), 'the name of the text') : ''
  return { entries, datasets: dataset === '' ? [] : [dataset], chunks, chunkSize: 0 }
}

function checked(path: string, name: string, values: Float32Array): Float32Array {
  const at = values.findIndex((value) => !(value >= 0 && value < Number.POSITIVE_INFINITY))
  if (at < 0) return values
  throw new FormatError(
    `${printable(path)}: ${printable(name)} holds ${values[at]} at ${at}, sums of squares are finite and not negative; make it again`,
    { code: 'PARE_E_IMATRIX', facts: { path, tensor: name, at } },
  )
}

/**
 * Importance of each input, [experts, in]: the mean of its squares. An expert that no token met has 1 everywhere.
 *
 * @example meanSquares({ sums: Float32Array.of(8, 2), counts: Float32Array.of(2) })  // [4, 1]
 */
export function meanSquares({ sums, counts }: InputSquares): Float32Array {
  const inputs = sums.length / counts.length
  return sums.map((sum, i) => {
    const count = counts[Math.floor(i / inputs)]!
    return count > 0 ? sum / count : 1
  })
}

/** Writes a GGUF file that llama.cpp reads. @throws OptionError where counts and sums do not fit. */
export function writeImatrix(path: string, { entries, datasets, chunks, chunkSize }: Imatrix): void {
  const sorted = [...entries].toSorted(([a], [b]) => (a < b ? -1 : 1))
  const tensors = sorted.flatMap(([name, { sums, counts }]) => {
    const experts = counts.length
    if (experts === 0 || sums.length === 0 || sums.length % experts !== 0)
      throw new OptionError(
        `${printable(name)}: ${sums.length} sums do not divide into ${experts} experts; give as many for each`,
      )
    return [
      { name: `${name}.in_sum2`, type: 'F32', shape: [experts, sums.length / experts], values: sums },
      { name: `${name}.counts`, type: 'F32', shape: [experts, 1], values: counts },
    ]
  })
  const metadata = new Map<string, GgufValue>([
    ['general.type', gguf.string('imatrix')],
    ['imatrix.datasets', gguf.strings([...datasets])],
    ['imatrix.chunk_count', gguf.u32(chunks)],
    ['imatrix.chunk_size', gguf.u32(chunkSize)],
  ])
  const writer = createGguf(path, metadata, tensors)
  try {
    for (const { name, values } of tensors) writer.append(name, bytesOf(values))
    writer.finish()
  } finally {
    writer.abort()
  }
}
