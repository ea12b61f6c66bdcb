/** What every file of named tensors offers, whatever its layout: safetensors, GGUF, torch and ONNX. */
import { FormatError, OptionError, printable } from '../tensor/errors.ts'
import type { ByteSource } from './file.ts'

/** Name, type and shape of a tensor that is read or is to be written. */
export interface TensorInfo {
  /** As the file gives it; untrusted, so messages pass it through `printable`. */
  readonly name: string
  /** The format's own word: `BF16` (safetensors), `Q4_K` (GGUF). */
  readonly type: string
  /** Row-major, slowest axis first: `[out, in]` for a linear layer, `[]` for a scalar. */
  readonly shape: readonly number[]
}

export interface TensorEntry extends TensorInfo {
  /** Size in the file, without padding. */
  readonly bytes: number
  /** Position of its first byte in `file`. */
  readonly offset: number
  /** Path of the file that holds it; shards differ. */
  readonly file: string
}

export type ArchiveFormat = 'safetensors' | 'gguf' | 'torch' | 'onnx'

/** A tensor file (or a set of shards) with its header read and its data untouched. */
export interface TensorArchive<Value = unknown> {
  readonly format: ArchiveFormat
  /** In file order. */
  readonly tensors: ReadonlyMap<string, TensorEntry>
  readonly metadata: ReadonlyMap<string, Value>
  /** The raw little-endian bytes of one tensor, owned by the caller. */
  read(name: string): Uint8Array
  /**
   * Slices `start` to `end` (exclusive) of the first axis: rows of a matrix, matrices of a stack of experts.
   *
   * @throws OptionError if the range is outside the axis, or its ends do not fall between two bytes or blocks.
   */
  readRows(name: string, start: number, end: number): Uint8Array
  close(): void
}

/** Writes the tensors that were announced, in any order, each in one or several parts. */
export interface ArchiveWriter {
  /** Appends the next bytes of a tensor; the last part completes it. */
  append(name: string, bytes: Uint8Array): void
  /** Puts the file or files in place. @throws OptionError if a tensor is missing or incomplete. */
  finish(): void
  /** Leaves nothing behind; does nothing after `finish`. */
  abort(): void
}

/** An archive over sources that stay open until `close`; `checkReadable` may refuse a type nobody can size. */
export function archiveOver<Value>(
  format: ArchiveFormat,
  sources: ReadonlyMap<string, ByteSource>,
  tensors: ReadonlyMap<string, TensorEntry>,
  metadata: ReadonlyMap<string, Value>,
  checkReadable: (entry: TensorEntry) => void = () => {},
): TensorArchive<Value> {
  const find = (name: string): TensorEntry => {
    const entry = tensors.get(name)
    if (entry) {
      checkReadable(entry)
      return entry
    }
    throw new OptionError(
      `${printable(name)}: no such tensor among the ${tensors.size} of this ${format} file; list them to see their names`,
      { code: 'PARE_E_NO_TENSOR', facts: { tensor: name, tensors: tensors.size } },
    )
  }
  const readPart = (entry: TensorEntry, start: number, length: number) =>
    sources.get(entry.file)!.read(entry.offset + start, length)
  return {
    format,
    tensors,
    metadata,
    read(name) {
      const entry = find(name)
      return readPart(entry, 0, entry.bytes)
    },
    readRows(name, start, end) {
      const entry = find(name)
      checkRows(entry, start, end)
      const [from, to] = [rowStart(entry, start), rowStart(entry, end)]
      return readPart(entry, from, to - from)
    },
    close() {
      for (const source of sources.values()) source.close()
    },
  }
}

/** The byte at which a row begins. @throws OptionError where it begins within a byte. */
function rowStart({ name, type, shape, bytes }: TensorEntry, row: number): number {
  const rows = shape[0]!
  if (rows === 0 || bytes % rows === 0) return rows === 0 ? 0 : row * (bytes / rows)
  // The product may exceed 2^53.
  const product = BigInt(row) * BigInt(bytes)
  if (product % BigInt(rows) === 0n) return Number(product / BigInt(rows))
  throw new OptionError(
    `${printable(name)}: row ${row} of ${type} with shape [${shape}] begins within a byte; read from one that does not, or the whole tensor`,
    { code: 'PARE_E_ROWS', facts: { tensor: name, type, shape: [...shape], row } },
  )
}

/** @throws OptionError where the tensor has no axis of rows, or not these. */
export function checkRows({ name, shape }: TensorInfo, start: number, end: number): void {
  const rows = shape[0]
  if (
    rows === undefined ||
    !(Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start <= end && end <= rows)
  )
    throw new OptionError(
      `${printable(name)}: rows ${start} to ${end} do not exist in shape [${shape}]; choose 0 <= start <= end <= ${rows ?? 'none'}`,
      { code: 'PARE_E_ROWS', facts: { tensor: name, start, end, shape: [...shape] } },
    )
}

/** Number of elements of a shape; every size is a non-negative integer and the product stays below 2^53. */
export function elementCount(shape: readonly number[]): number | undefined {
  let count = 1
  // A zero anywhere makes the tensor empty, but does not excuse an absurd size beside it.
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) return undefined
    if (size > 0) count *= size
    if (!Number.isSafeInteger(count)) return undefined
  }
  return shape.includes(0) ? 0 : count
}

/** The error for a file that breaks its format's rules. */
export function damaged(
  file: string,
  what: string,
  code: string,
  facts: Record<string, string | number> = {},
) {
  return new FormatError(`${printable(file)}: ${what}`, { code, facts: { path: file, ...facts } })
}
