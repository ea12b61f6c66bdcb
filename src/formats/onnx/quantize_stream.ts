/** Quantises a matrix of an ONNX file while it is read, so that it never is in memory as f32. */
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../half.ts'
import { elementTypeOf } from './element_types.ts'
import type { OnnxTensor } from './graph.ts'
import {
  type MatMulNBitsLayout,
  type MatMulNBitsWeights,
  matMulNBitsPacker,
  sizesOf,
} from './matmul_nbits_packing.ts'
import type { OnnxArchive } from './onnx.ts'

/** Bytes of rows that are read at once. */
const readBytes = 1 << 22

/** @param turned whether the tensor is [N, K]; otherwise [K, N] */
export function quantizeTensor(
  archive: OnnxArchive,
  tensor: OnnxTensor,
  layout: MatMulNBitsLayout,
  turned: boolean,
  symmetric: boolean,
): MatMulNBitsWeights {
  const { blockSize, rows, columns } = layout
  const { blocks } = sizesOf(layout)
  const packer = matMulNBitsPacker(layout, { symmetric, roundScale: (scale) => roundTo(tensor.type, scale) })
  const read = readerOf(archive, tensor)
  if (turned) {
    const some = Math.max(1, Math.floor(readBytes / 4 / columns))
    for (let first = 0; first < rows; first += some) {
      const count = Math.min(some, rows - first)
      const values = read(first * columns, (first + count) * columns)
      for (let row = 0; row < count; row++)
        for (let block = 0; block < blocks; block++) {
          const start = row * columns + block * blockSize
          const width = Math.min(blockSize, columns - block * blockSize)
          packer.fill(first + row, block, values.subarray(start, start + width), width)
        }
    }
    return packer.weights
  }
  for (let block = 0; block < blocks; block++) {
    const first = block * blockSize
    const width = Math.min(blockSize, columns - first)
    const values = read(first * rows, (first + width) * rows)
    const tile = new Float32Array(values.length)
    for (let k = 0; k < width; k++)
      for (let row = 0; row < rows; row++) tile[row * width + k] = values[k * rows + row]!
    packer.fill(0, block, tile, width)
  }
  return packer.weights
}

/** Elements `start` to `end` as f32. */
function readerOf(archive: OnnxArchive, tensor: OnnxTensor): (start: number, end: number) => Float32Array {
  const { type } = tensor
  const size = elementTypeOf(type)!.bits / 8
  // Numbers that stand one by one are decoded once; such matrices are small and rare.
  const decoded =
    archive.parsed.storages.get(tensor)!.kind === 'numbers' ? archive.bytesOf(tensor) : undefined
  return (start, end) => {
    const bytes = decoded
      ? decoded.slice(start * size, end * size)
      : archive.bytesOf(tensor, start * size, end * size)
    if (type === 'F32') return new Float32Array(bytes.buffer, bytes.byteOffset, end - start)
    const words = new Uint16Array(bytes.buffer, bytes.byteOffset, end - start)
    return Float32Array.from(words, type === 'F16' ? f16ToNumber : bf16ToNumber)
  }
}

function roundTo(type: string, value: number): number {
  if (type === 'F16') return f16ToNumber(numberToF16(value))
  return type === 'BF16' ? bf16ToNumber(numberToBf16(value)) : Math.fround(value)
}

/** Scales in the type of the matrix. */
export function scaleBytes(scales: Float32Array, type: string): Uint8Array {
  if (type === 'F32') return new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength)
  return new Uint8Array(Uint16Array.from(scales, type === 'F16' ? numberToF16 : numberToBf16).buffer)
}
