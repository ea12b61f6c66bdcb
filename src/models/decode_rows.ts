/** Weights that a file stores as they are, decoded to f32: whole, a few megabytes at a time, or some rows. */
import type { TensorArchive } from '../formats/archive.ts'
import { type BlockTypeName, isBlockType, rowBytes } from '../nn/block_types.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import { type DType, elementCount, fromBytes, scope, type Tensor, zeros } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import type { WeightInfo } from './model_weights.ts'

/** Bytes read at a time: enough for the disk, little beside a weight. */
const PART = 8 * 2 ** 20

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
  const target = zeros([elementCount(shape.slice(0, -1)), shape.at(-1) ?? 1])
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
  const target = zeros([end - start, columns])
  const step = Math.max(1, Math.floor(PART / Math.max(1, rowBytes(type, columns))))
  for (let from = start; from < end; from += step) {
    const to = Math.min(from + step, end)
    const bytes = archive.readRows(name, from, to)
    const part = target.slice(0, from - start, to - start)
    callNative((native) => native.decodeBlocksInto(type, bytes, part.handle))
    part.dispose()
  }
  return target
}

/** Float types of safetensors that Pare computes from. */
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
  return isBlockType(type)
    ? scope(() => decodeSlice(archive, name, type, shape, start, end))
    : decodeFloats(info, archive.readRows(name, start, end), [end - start, shape[1]!])
}

/** Rows `ids` of such a weight [rows, columns] in f32, [ids.length, columns]. */
export function loadFloatRows(archive: TensorArchive, info: WeightInfo, ids: Uint32Array): Tensor {
  return decodeFloats(info, gatherRows(archive, info, ids), [ids.length, info.shape[1]!])
}

function decodeFloats({ name, type }: WeightInfo, bytes: Uint8Array, shape: readonly number[]): Tensor {
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
