/**
 * The values of tensors in numbers: range, mean, deviation, zeros, and a small histogram. Files are read in parts, so that
 * the memory does not depend on the model.
 */
import { setImmediate as turn } from 'node:timers/promises'
import type { TensorArchive, TensorEntry } from '../formats/archive.ts'
import { openFile } from '../formats/file.ts'
import { decodeSmallIntegers, isSmallInteger } from '../formats/onnx/small_integers.ts'
import { decodeToF32, isFloatType, isIntegerType } from '../formats/safetensors/decode.ts'
import { dtypeBits } from '../formats/safetensors/dtypes.ts'
import { isFolder } from '../models/load_model.ts'
import { rowRanges } from '../models/row_ranges.ts'
import { type GgmlType, isBlockType, isCodedType, typeOfName } from '../nn/block_types.ts'
import { patternMatches } from '../nn/name_pattern.ts'
import { AbortError, OptionError, printable } from '../tensor/errors.ts'
import { scope, zeros } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import type { RunHooks } from './evaluate.ts'
import { openArchive } from './inspect.ts'

export interface ValueSummary {
  /** Elements. */
  count: number
  /** Elements that are not a number, and that are infinite; all that follows is of the others. */
  nan: number
  infinite: number
  /** Share of values that are 0, of 0 to 1. */
  zeros: number
  /** Absent where no value is finite. */
  finite?: {
    min: number
    max: number
    mean: number
    /** Standard deviation over all, not estimated from a sample. */
    deviation: number
    histogram: Histogram
  }
}

export interface Histogram {
  /** Ends of the bins: three deviations around the mean, or the range where that is narrower. */
  from: number
  to: number
  /** Values in each of 16 bins of equal width. */
  bins: readonly number[]
  /** Values below and above the bins. */
  below: number
  above: number
}

/** What is known of the values of a tensor. */
export type TensorValues = { name: string } & ({ summary: ValueSummary } | { missing: string })

export interface ValueOptions {
  /** Pattern of the names, such as `model.layers.0.**` or `re:down_proj`. @default all */
  only?: string | undefined
}

const BINS = 16
/** Bytes that are read at a time. */
const PART = 1 << 22
/** Values that are kept between the two passes, so that small tensors are read once. */
const MOST_KEPT = 1 << 24

/**
 * Summaries of the tensors of a file or folder, in the order of the file. Twice over each tensor: for the moments first, then
 * for the bins.
 *
 * @throws OptionError for a pattern that matches nothing, FormatError where the file is damaged, AbortError.
 * @example for await (const { name, ...values } of summarizeValues('model.gguf', { only: '**.ffn_down' })) {}
 */
export async function* summarizeValues(
  path: string,
  { only }: ValueOptions = {},
  { progress, signal }: RunHooks = {},
): AsyncGenerator<TensorValues> {
  const archive = openArchive(path, isFolder(path))
  try {
    const names = [...archive.tensors.keys()]
    const chosen = chooseNames(names, only)
    const bytes = chosen.reduce((sum, name) => sum + archive.tensors.get(name)!.bytes, 0)
    let done = 0
    for (const name of chosen) {
      progress?.({ kind: 'progress', phase: 'read', share: bytes === 0 ? 1 : done / bytes, text: name })
      const entry = archive.tensors.get(name)!
      const missing = whyNot(archive, entry)
      if (missing === undefined) yield { name, summary: await summaryOf(archive, entry, signal) }
      else yield { name, missing }
      done += entry.bytes
    }
  } finally {
    archive.close()
  }
}

/** Names that a pattern takes. @throws OptionError where it takes none */
export function chooseNames(names: readonly string[], only: string | undefined): string[] {
  if (only === undefined) return [...names]
  const matches = patternMatches('--only', only, names)
  const chosen = names.filter((_, i) => matches[i])
  if (chosen.length > 0) return chosen
  throw new OptionError(
    `--only: ${printable(only)} matches none of the ${names.length} tensors; write a pattern of their names, such as ${printable(names[0] ?? '**')}`,
    { code: 'PARE_E_FIELD', facts: { only } },
  )
}

/** Why a tensor has no summary. */
function whyNot({ format }: TensorArchive, { type }: TensorEntry): string | undefined {
  const known =
    format === 'gguf'
      ? isBlockType(type) || isIntegerType(type) || type === 'F64'
      : isFloatType(type) || isIntegerType(type) || (format === 'onnx' && isSmallInteger(type))
  return known ? undefined : `Pare does not decode ${type}`
}

async function summaryOf(
  archive: TensorArchive,
  entry: TensorEntry,
  signal: AbortSignal | undefined,
): Promise<ValueSummary> {
  const count = entry.shape.reduce((a, b) => a * b, 1)
  const kept: Float32Array[] = []
  const moments = new Moments()
  for (const values of partsOf(archive, entry)) {
    await pausePoint(signal)
    moments.add(values)
    if (count <= MOST_KEPT) kept.push(values)
  }
  const { nan, infinite, zeros, min, max } = moments
  const base = { count, nan, infinite, zeros: count === 0 ? 0 : zeros / count }
  if (moments.count === 0) return base
  const { mean, deviation } = moments
  const bins = new Bins(Math.max(min, mean - 3 * deviation), Math.min(max, mean + 3 * deviation))
  for (const values of count <= MOST_KEPT ? kept : partsOf(archive, entry)) {
    await pausePoint(signal)
    bins.add(values)
  }
  return { ...base, finite: { min, max, mean, deviation, histogram: bins.histogram } }
}

/** Lets signals in between two parts. */
async function pausePoint(signal: AbortSignal | undefined): Promise<void> {
  await turn()
  if (signal?.aborted) throw new AbortError(undefined, { cause: signal.reason })
}

class Moments {
  count = 0
  nan = 0
  infinite = 0
  zeros = 0
  min = Number.POSITIVE_INFINITY
  max = Number.NEGATIVE_INFINITY
  /** Sums are taken around the first value, so that a large mean does not drown the deviation. */
  #shift = 0
  #sum = 0
  #squares = 0

  add(values: Float32Array): void {
    for (const value of values) {
      if (Number.isFinite(value)) {
        if (this.count === 0) this.#shift = value
        this.count += 1
        if (value === 0) this.zeros += 1
        if (value < this.min) this.min = value
        if (value > this.max) this.max = value
        const apart = value - this.#shift
        this.#sum += apart
        this.#squares += apart * apart
      } else if (Number.isNaN(value)) this.nan += 1
      else this.infinite += 1
    }
  }

  get mean(): number {
    return this.#shift + this.#sum / this.count
  }

  get deviation(): number {
    return Math.sqrt(Math.max(0, this.#squares / this.count - (this.#sum / this.count) ** 2))
  }
}

class Bins {
  readonly histogram: Histogram & { bins: number[] }

  constructor(from: number, to: number) {
    this.histogram = { from, to, bins: new Array<number>(BINS).fill(0), below: 0, above: 0 }
  }

  add(values: Float32Array): void {
    const { histogram } = this
    const { from, to, bins } = histogram
    // Where all values are one, it stands in the first bin.
    const scale = to > from ? BINS / (to - from) : 0
    for (const value of values) {
      if (!Number.isFinite(value)) continue
      if (value < from) histogram.below += 1
      else if (value > to) histogram.above += 1
      else bins[Math.min(BINS - 1, Math.floor((value - from) * scale))]! += 1
    }
  }
}

/** The values of a tensor in f32, part by part. */
function* partsOf(archive: TensorArchive, entry: TensorEntry): Generator<Float32Array> {
  if (archive.format === 'torch' || archive.format === 'onnx') {
    // Their bytes may lie in another order than their values.
    const decode = isSmallInteger(entry.type) ? decodeSmallIntegers : decodeToF32
    for (const { bytes, count } of rowParts(archive, entry)) yield decode(entry.type, bytes, count)
    return
  }
  const blocks = archive.format === 'gguf' && isCodedType(entry.type) ? typeOfName(entry.type)! : undefined
  // Eight elements of any type of safetensors fill whole bytes.
  const unit = blocks ?? { blockLength: 8, blockBytes: dtypeBits[entry.type]! }
  const step = Math.floor(PART / unit.blockBytes) * unit.blockBytes
  const source = openFile(entry.file)
  try {
    for (let at = 0; at < entry.bytes; at += step) {
      const bytes = source.read(entry.offset + at, Math.min(step, entry.bytes - at))
      yield blocks
        ? blockValues(blocks, bytes)
        : decodeToF32(entry.type, bytes, (bytes.length * 8) / dtypeBits[entry.type]!)
    }
  } finally {
    source.close()
  }
}

function blockValues({ name, blockLength, blockBytes }: GgmlType, bytes: Uint8Array): Float32Array {
  return scope(() => {
    const target = zeros([bytes.length / blockBytes, blockLength])
    callNative((native) => native.decodeBlocksInto(name, bytes, target.handle))
    return target.toArray() as Float32Array
  })
}

/** Bytes of some rows and their elements; of the whole, where a row may end inside of a byte or is empty. */
function* rowParts(
  archive: TensorArchive,
  { name, shape, type, bytes }: TensorEntry,
): Generator<{ bytes: Uint8Array; count: number }> {
  const [rows, ...inner] = shape
  const columns = inner.reduce((a, b) => a * b, 1)
  const isWhole = (dtypeBits[type] ?? 1) % 8 === 0 || columns % 8 === 0
  if (rows === undefined || rows === 0 || columns === 0 || !isWhole) {
    yield { bytes: archive.read(name), count: (rows ?? 1) * columns }
    return
  }
  for (const { start, end } of rowRanges(rows, bytes / rows, PART))
    yield { bytes: archive.readRows(name, start, end), count: (end - start) * columns }
}
