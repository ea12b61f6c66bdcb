/** Whole weights from a file into one f32 tensor, a few megabytes at a time. */
import type { TensorArchive } from '../formats/archive.ts'
import { type BlockTypeName, rowBytes } from '../nn/block_types.ts'
import { elementCount, type Tensor, zeros } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'

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
