/**
 * How a weight of a model stands in an ONNX graph: as numbers under its own name, or as the codes, scales and zero
 * points of com.microsoft MatMulNBits, `NAME_Q4`, `NAME_scales` and `NAME_zero_points`.
 */
import { numberToF16 } from '../../formats/half.ts'
import type { OnnxTensor } from '../../formats/onnx/graph.ts'
import {
  type MatMulBits,
  type MatMulNBitsLayout,
  packCodes,
  packZeroPoints,
  sizesOf,
} from '../../formats/onnx/matmul_nbits_packing.ts'
import { type GridForm, groupWidth } from '../../nn/grid.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import { bytesOf, scope } from '../../tensor/index.ts'

/** Element type of weights, activations and scales. */
export type OnnxFloat = 'F32' | 'F16'

export interface OnnxTypes {
  /** Of weights that are no codes, as the file has them; those that are marked are F32. */
  readonly numbers: OnnxFloat
  /** Of what is computed, and of the scales of codes: MatMulNBits wants both of one type. */
  readonly activations: OnnxFloat
}

/** Name of what a product is computed with, known from the plan. */
export interface GraphWeight {
  /** As the model has it. */
  readonly name: string
  readonly shape: readonly number[]
  /** Of a matrix that is stored as codes. */
  readonly grid?: GridForm
  /** Its numbers stay F32, whatever others are. @default false */
  readonly wide?: boolean
}

/** Type of the numbers of a weight that is no codes. */
export const numberType = ({ wide }: GraphWeight, { numbers }: OnnxTypes): OnnxFloat =>
  wide ? 'F32' : numbers

export const codesName = (name: string, bits: number): string => `${name}_Q${bits}`
export const scalesName = (name: string): string => `${name}_scales`
export const zeroPointsName = (name: string): string => `${name}_zero_points`

/** The layout of a matrix on a grid. @throws OptionError for bits or groups that MatMulNBits has not. */
export function layoutOf({ name, shape, grid }: GraphWeight & { grid: GridForm }): MatMulNBitsLayout {
  const [rows, columns] = shape as [number, number]
  const blockSize = grid.groupSize === 'row' ? groupWidth(grid, columns) : grid.groupSize
  const layout = { bits: grid.bits as MatMulBits, blockSize, rows, columns }
  try {
    sizesOf(layout)
  } catch (error) {
    throw new OptionError(`${printable(name)}: ${(error as Error).message}`, {
      code: 'PARE_E_LAYER_FORM',
      facts: { tensor: name, bits: grid.bits, groupSize: grid.groupSize },
      cause: error,
    })
  }
  return layout
}

/** The initialisers of a weight, in the order in which it is encoded. */
export function tensorsOfWeight(weight: GraphWeight, types: OnnxTypes): OnnxTensor[] {
  const { name, shape, grid } = weight
  if (!grid) return [{ name, type: numberType(weight, types), shape }]
  const layout = layoutOf({ name, shape, grid })
  const { blocks, blockBytes, zeroBytes } = sizesOf(layout)
  const { rows, bits } = layout
  return [
    { name: codesName(name, bits), type: 'U8', shape: [rows, blocks, blockBytes] },
    { name: scalesName(name), type: types.activations, shape: [rows * blocks] },
    ...(grid.symmetric ? [] : [{ name: zeroPointsName(name), type: 'U8', shape: [rows * zeroBytes] }]),
  ]
}

/**
 * The bytes of some rows of a matrix on a grid, as `tensorsOfWeight` lists them.
 *
 * @param type of the scales
 * @throws OptionError for values that are on no such grid, or whose columns were sorted
 */
export function encodeMatMulNBits(
  weight: GraphWeight & { grid: GridForm },
  values: StoredValues,
  type: OnnxFloat,
): Uint8Array[] {
  const refuse = (found: string) =>
    new OptionError(
      `${printable(weight.name)}: MatMulNBits stores codes of ${weight.grid.bits} bits in groups of ${weight.grid.groupSize} neighbours, got ${found}; choose --target pare`,
      { code: 'PARE_E_LAYER_FORM', facts: { tensor: weight.name } },
    )
  if (values.kind !== 'grid') throw refuse(values.kind)
  if (values.grid.bits !== weight.grid.bits) throw refuse(`codes of ${values.grid.bits} bits`)
  const [rows, columns] = values.codes.shape as [number, number]
  const layout = layoutOf({ ...weight, shape: [rows, columns] })
  const { blockSize } = layout
  const { blocks } = sizesOf(layout)
  if (values.scales.extent(1) !== blocks) throw refuse(`${values.scales.extent(1)} groups a row`)
  if (values.groupOf.some((group, column) => group !== Math.floor(column / blockSize)))
    throw refuse('columns that were sorted')
  return scope(() => {
    const middle = 2 ** (layout.bits - 1)
    const zeros = Uint8Array.from(values.zeros.cast('f32').toArray() as Float32Array, (zero) => {
      if (Number.isInteger(zero) && zero >= 0 && zero < 2 * middle) return zero
      throw refuse(`a zero point of ${zero}`)
    })
    if (weight.grid.symmetric && zeros.some((zero) => zero !== middle))
      throw refuse('zero points that are not in the middle')
    const codes = padRows(values.codes.bytes(), zeros, columns, layout)
    const scales = values.scales.toArray() as Float32Array
    return [
      packCodes(codes, layout),
      type === 'F16' ? bytesOf(Uint16Array.from(scales, numberToF16)) : bytesOf(Float32Array.from(scales)),
      ...(weight.grid.symmetric ? [] : [packZeroPoints(zeros, layout)]),
    ]
  })
}

/** Codes [rows, columns] to [rows, blocks * blockSize]; the last block is filled with what stands for 0. */
function padRows(
  codes: Uint8Array,
  zeros: Uint8Array,
  columns: number,
  { rows, blockSize }: MatMulNBitsLayout,
): Uint8Array {
  const blocks = Math.ceil(columns / blockSize)
  const width = blocks * blockSize
  if (width === columns) return codes
  const padded = new Uint8Array(rows * width)
  for (let row = 0; row < rows; row++) {
    padded.set(codes.subarray(row * columns, (row + 1) * columns), row * width)
    padded.fill(zeros[(row + 1) * blocks - 1]!, row * width + columns, (row + 1) * width)
  }
  return padded
}
