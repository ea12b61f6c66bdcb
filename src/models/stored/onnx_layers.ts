/** Matrices of an ONNX graph that com.microsoft MatMulNBits computes with: codes in blocks along the inputs. */
import type { TensorArchive } from '../../formats/archive.ts'
import type { OnnxNode } from '../../formats/onnx/graph.ts'
import {
  type MatMulBits,
  type MatMulNBitsLayout,
  sizesOf,
  unpackCodes,
  unpackZeroPoints,
} from '../../formats/onnx/matmul_nbits_packing.ts'
import type { OnnxArchive } from '../../formats/onnx/onnx.ts'
import { neighbourGroups } from '../../nn/grid.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { scope, type Tensor, tensor } from '../../tensor/index.ts'
import { constantPrefix } from '../onnx/graph_builder.ts'
import { bytesOfParts, inPart, readNumbers, readPart, type StoredLayer, scaleTypeOf } from './stored_layer.ts'

const code = 'PARE_E_ONNX_TENSOR'

/** The same archive without the constants that belong to the graph and are no weights. */
export const onnxWeights = (archive: OnnxArchive): OnnxArchive => ({
  ...archive,
  tensors: new Map([...archive.tensors].filter(([name]) => !name.startsWith(constantPrefix))),
})

export const isOnnxArchive = (archive: TensorArchive): archive is OnnxArchive => archive.format === 'onnx'

/**
 * The matrices of the model's own graph, each once, by the name of their codes without `_Q4` or `_Q8`.
 *
 * @throws FormatError for sorted columns, and for attributes that do not fit.
 */
export function onnxLayers(archive: OnnxArchive): StoredLayer[] {
  const layers = new Map<string, StoredLayer>()
  for (const node of archive.parsed.model.graph.nodes) {
    if (node.opType !== 'MatMulNBits' || node.domain !== 'com.microsoft') continue
    const codes = node.inputs[1] ?? ''
    const name = codes.replace(/_Q\d$/, '')
    if (!layers.has(name) && archive.tensors.has(codes)) layers.set(name, layerOf(archive, name, node))
  }
  return [...layers.values()]
}

function layerOf(archive: OnnxArchive, name: string, node: OnnxNode): StoredLayer {
  const [, codes, scales, zeroPoints = '', order = ''] = node.inputs as [string, string, string]
  if (order !== '')
    throw new FormatError(
      `${printable(name)}: columns in another order (g_idx) are not read; convert the model without it`,
      { code, facts: { tensor: name } },
    )
  const layout = inPart(name, () => layoutOf(node))
  const { bits, blockSize, rows, columns } = layout
  const { blocks, blockBytes, zeroBytes } = sizesOf(layout)
  const parts = [codes, scales, ...(zeroPoints === '' ? [] : [zeroPoints])]
  const flat = (part: string, width: number) =>
    // Rows of blocks, or one run of all.
    archive.tensors.get(part)?.shape.length === 1
      ? { shape: [rows * width], rows: (start: number, end: number) => [start * width, end * width] as const }
      : { shape: [rows, width], rows: (start: number, end: number) => [start, end] as const }
  const zerosOf = (start: number, end: number): Tensor => {
    const count = end - start
    if (zeroPoints === '')
      return tensor(new Uint8Array(count * blocks).fill(2 ** (bits - 1)), [count, blocks], 'u8')
    const isPacked = archive.tensors.get(zeroPoints)?.type === 'U8'
    const place = flat(zeroPoints, isPacked ? zeroBytes : blocks)
    const need = { types: isPacked ? ['U8'] : ['F32', 'F16', 'BF16'], shape: place.shape, code }
    if (!isPacked)
      return tensor(readNumbers(archive, zeroPoints, need, place.rows(start, end)), [count, blocks])
    const bytes = readPart(archive, zeroPoints, need, place.rows(start, end))
    return tensor(unpackZeroPoints(bytes, { ...layout, rows: count }), [count, blocks], 'u8')
  }
  return {
    info: { name, shape: [rows, columns], type: `onnx-${bits}bit`, bytes: bytesOfParts(archive, parts) },
    parts,
    values(start, end): StoredValues {
      const count = end - start
      const need = { types: ['U8'], shape: [rows, blocks, blockBytes], code }
      const packed = unpackCodes(readPart(archive, codes, need, [start, end]), { ...layout, rows: count })
      const place = flat(scales, blocks)
      const scaleNeed = { types: ['F32', 'F16', 'BF16'], shape: place.shape, code }
      const numbers = readNumbers(archive, scales, scaleNeed, place.rows(start, end))
      return scope(() => ({
        kind: 'grid',
        grid: {
          bits,
          groupSize: blockSize,
          symmetric: zeroPoints === '',
          scaleType: scaleTypeOf(archive, scales),
        },
        codes: tensor(withoutPadding(packed, count, columns, blocks * blockSize), [count, columns], 'u8'),
        scales: tensor(numbers, [count, blocks]),
        zeros: zerosOf(start, end),
        groupOf: neighbourGroups(columns, blockSize),
      }))
    },
  }
}

function layoutOf(node: OnnxNode): MatMulNBitsLayout {
  const whole = (key: string): number => {
    const attribute = node.attributes.get(key)
    return attribute?.kind === 'int' ? Number(attribute.value) : Number.NaN
  }
  const layout = {
    bits: whole('bits') as MatMulBits,
    blockSize: whole('block_size'),
    rows: whole('N'),
    columns: whole('K'),
  }
  sizesOf(layout)
  return layout
}

function withoutPadding(codes: Uint8Array, rows: number, columns: number, width: number): Uint8Array {
  if (width === columns) return codes
  const own = new Uint8Array(rows * columns)
  for (let row = 0; row < rows; row++)
    own.set(codes.subarray(row * width, row * width + columns), row * columns)
  return own
}
