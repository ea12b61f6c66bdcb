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
  const columns = shape.at(-1) ?? 1
  const rows = elementCount(shape.slice(0, -1))
  const target = zeros([rows, columns])
  const size = rowBytes(type, columns)
  const step = Math.max(1, Math.floor(PART / Math.max(1, size)))
  for (let start = 0; start < rows; start += step) {
    const end = Math.min(start + step, rows)
    const bytes = shape.length === 2 && rows > step ? archive.readRows(name, start, end) : archive.read(name)
    const part = shape.length === 2 && rows > step ? target.slice(0, start, end) : target
    callNative((native) => native.decodeBlocksInto(type, bytes, part.handle))
    if (part === target) break
    part.dispose()
  }
  return shape.length === 2 ? target : target.reshape(shape)
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
