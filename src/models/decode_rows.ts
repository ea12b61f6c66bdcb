/** Weights that a file stores as they are, decoded to f32: whole, a few megabytes at a time, or some rows. */
import type { TensorArchive } from '../formats/archive.ts'
import {
  decodeSmallFloats,
  isSmallFloat,
  type SmallFloatName,
  smallFloatBits,
} from '../formats/small_floats.ts'
import { type BlockTypeName, isBlockType, rowBytes } from '../nn/block_types.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import {
  type DType,
  elementCount,
  fromBytes,
  nativeKernels,
  scope,
  Tensor,
  tensor,
  zeros,
} from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import type { WeightInfo } from './model_weights.ts'
import { rowRanges } from './row_ranges.ts'

/** Bytes read at a time: enough for the disk, little beside a weight. */
const PART = 8 * 2 ** 20

/** f32 [rows, columns] that blocks are decoded into: to write zeros first would take as long as to decode. */
export function unfilled(rows: number, columns: number): Tensor {
  if (rows * columns === 0) return zeros([rows, columns])
  const handle = callNative((native) => native.blocksTarget(rows, columns))
  return new Tensor(nativeKernels(), handle, 'f32', [rows, columns])
}

/**
 * The tensor `name` of the archive, stored as `type`, in f32. Vectors count as one row.
 *
 * @throws FormatError where the file is cut.
 */
export function decodeTensor(
  archive: TensorArchive,
  name: string,
  type: BlockTypeName,
  shape: readonly number[],
): Tensor {
  if (shape.length === 2) return decodeSlice(archive, name, type, shape, 0, shape[0]!)
  const target = unfilled(elementCount(shape.slice(0, -1)), shape.at(-1) ?? 1)
  const bytes = archive.read(name)
  callNative((native) => native.decodeBlocksInto(type, bytes, target.handle))
  return target.reshape(shape)
}

/** Rows `start` to `end` (exclusive) of a matrix of the archive, stored as `type`, in f32. */
export function decodeSlice(
  archive: TensorArchive,
  name: string,
  type: BlockTypeName,
  shape: readonly number[],
  start: number,
  end: number,
): Tensor {
  const columns = shape[1]!
  const target = unfilled(end - start, columns)
  // Rows of nothing could be any number.
  if (target.size === 0) return target
  for (const rows of rowRanges(end - start, rowBytes(type, columns), PART)) {
    const bytes = archive.readRows(name, start + rows.start, start + rows.end)
    const part = target.slice(0, rows.start, rows.end)
    callNative((native) => native.decodeBlocksInto(type, bytes, part.handle))
    part.dispose()
  }
  return target
}

/** Float types of safetensors that tensors have too; those of 8 bits and less are decoded from tables. */
const floats: Readonly<Record<string, DType>> = { F32: 'f32', F16: 'f16', BF16: 'bf16', F64: 'f64' }

/**
 * A whole weight of a safetensors archive in f32.
 *
 * @throws FormatError where its type is no float type.
 */
export function loadFloats(archive: TensorArchive, info: WeightInfo): Tensor {
  const { name, type, shape } = info
  return isBlockType(type)
    ? scope(() => decodeTensor(archive, name, type, shape))
    : decodeFloats(info, archive.read(name), shape)
}

/** Rows `start` to `end` (exclusive) of such a weight [rows, columns] in f32. */
export function loadFloatSlice(archive: TensorArchive, info: WeightInfo, start: number, end: number): Tensor {
  const { name, type, shape } = info
  if (isBlockType(type)) return scope(() => decodeSlice(archive, name, type, shape, start, end))
  const rows = [end - start, shape[1]!]
  return isSmallFloat(type)
    ? tensor(smallFloatRows(archive, info, type, start, end), rows)
    : decodeFloats(info, archive.readRows(name, start, end), rows)
}

/** Rows `ids` of such a weight [rows, columns] in f32, [ids.length, columns]. */
export function loadFloatRows(archive: TensorArchive, info: WeightInfo, ids: Uint32Array): Tensor {
  const columns = info.shape[1]!
  const { type } = info
  if (!isSmallFloat(type)) return decodeFloats(info, gatherRows(archive, info, ids), [ids.length, columns])
  checkRows(info, ids)
  const values = new Float32Array(ids.length * columns)
  for (const [i, id] of ids.entries())
    values.set(smallFloatRows(archive, info, type, id, id + 1), i * columns)
  return tensor(values, [ids.length, columns])
}

/**
 * Rows of a small float type. Rows that share a byte with a neighbour, as those of F4 with odd columns do, are read with
 * it: every second or fourth row begins with a byte, and the last of a weight ends with one.
 */
function smallFloatRows(
  archive: TensorArchive,
  { name, shape }: WeightInfo,
  type: SmallFloatName,
  start: number,
  end: number,
): Float32Array {
  const [rows, columns] = shape as [number, number]
  const rest = (columns * smallFloatBits(type)) % 8
  const step = rest === 0 ? 1 : rest === 4 ? 2 : 4
  const from = start - (start % step)
  const bytes = archive.readRows(name, from, Math.min(rows, Math.ceil(end / step) * step))
  return decodeSmallFloats(type, bytes, (end - start) * columns, (start - from) * columns)
}

function decodeFloats({ name, type }: WeightInfo, bytes: Uint8Array, shape: readonly number[]): Tensor {
  if (isSmallFloat(type)) return tensor(decodeSmallFloats(type, bytes, elementCount(shape)), shape)
  const dtype = floats[type]
  if (!dtype)
    throw new FormatError(`${printable(name)}: needs a float type, got ${printable(type)}`, {
      facts: { tensor: name, type },
    })
  return scope(() => fromBytes(bytes, shape, dtype).cast('f32'))
}

/**
 * The bytes of rows `ids` of a weight [rows, columns], one after another.
 *
 * @param stored its name in the archive @default its own
 * @throws RangeError for a row that the weight does not have.
 */
export function gatherRows(
  archive: TensorArchive,
  info: WeightInfo,
  ids: Uint32Array,
  stored = info.name,
): Uint8Array {
  checkRows(info, ids)
  const size = info.bytes / info.shape[0]!
  const bytes = new Uint8Array(ids.length * size)
  for (const [i, id] of ids.entries()) bytes.set(archive.readRows(stored, id, id + 1), i * size)
  return bytes
}

/** @throws RangeError for a row that the weight does not have. */
export function checkRows({ name, shape }: WeightInfo, ids: Uint32Array): void {
  const past = ids.find((id) => id >= shape[0]!)
  if (past !== undefined) throw new RangeError(`${name}: row ${past} is past the last of ${shape[0]}`)
}
