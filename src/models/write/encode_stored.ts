/** The bytes of stored values in a Pare folder; `stored/pare_tensors.ts` says which tensors they are. */
import type { TensorInfo } from '../../formats/archive.ts'
import { packRows } from '../../formats/bit_stream.ts'
import { checkCodes } from '../../formats/packing_checks.ts'
import type { PareWeight } from '../../formats/pare_weight.ts'
import { dtypeBytes } from '../../formats/safetensors/dtypes.ts'
import { groupWidth } from '../../nn/grid.ts'
import { type StoredValues, shapeOfStored } from '../../nn/values/values.ts'
import { OptionError } from '../../tensor/errors.ts'
import { bytesOf, elementCount, scope, type Tensor, tensor } from '../../tensor/index.ts'
import { columnType, describeStored, tensorsOfStored } from '../stored/pare_tensors.ts'
import { marksOfRow } from '../stored/row_marks.ts'
import type { EncodedTensor } from './model_writer.ts'

/** Size of a tensor of safetensors. */
export const bytesOfInfo = ({ type, shape }: TensorInfo): number => dtypeBytes(type, elementCount(shape))!

/**
 * The tensors of a weight, in the order of `tensorsOfStored`.
 *
 * @param weight what was planned; it may name groups that are neighbours @default what the values are
 * @throws OptionError for values that are not what was planned, or that do not fit together.
 * @example encodeStored('w', source.values)
 */
export function encodeStored(
  name: string,
  values: StoredValues,
  weight: PareWeight = describeStored(values),
): EncodedTensor[] {
  const found = describeStored(values)
  if (!isPlanned(found, weight))
    throw new OptionError(
      `${name}: ${JSON.stringify(weight)} was planned, got ${JSON.stringify(found)}; plan what the method makes`,
      { code: 'PARE_E_PLANNED_FORM', facts: { tensor: name } },
    )
  const encoded = scope(() => bytesOfParts(values, weight))
  return tensorsOfStored(name, weight).map((info, i) => {
    const bytes = encoded[i]!
    if (bytes.length !== bytesOfInfo(info))
      throw new OptionError(
        `${info.name}: needs ${info.type} [${info.shape.join(', ')}], got ${bytes.length} bytes; the values do not fit together`,
        { code: 'PARE_E_PLANNED_FORM', facts: { tensor: info.name, bytes: bytes.length } },
      )
    return { name: info.name, bytes }
  })
}

/** Equal but for the names of groups, which may be stored where nobody needs them. */
function isPlanned(found: PareWeight, weight: PareWeight): boolean {
  const named = 'sorted' in found && 'sorted' in weight
  const compared = named ? { ...found, sorted: found.sorted || weight.sorted } : found
  return JSON.stringify(compared, sortedKeys) === JSON.stringify(weight, sortedKeys)
}

const sortedKeys = (_: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value

function bytesOfParts(values: StoredValues, weight: PareWeight): Uint8Array[] {
  const [rows, columns] = shapeOfStored(values)
  const half = (x: Tensor) => x.cast('f16').bytes()
  switch (values.kind) {
    case 'dense':
      return [values.numbers.bytes()]
    case 'grid':
    case 'offset': {
      const { bits, scaleType } = values.kind === 'grid' ? values.grid : values.form
      const groups = Math.ceil(columns / groupWidth(weight as PareWeight & { kind: 'grid' }, columns))
      const parts = [
        packed(values.codes, rows, columns, bits),
        values.scales.cast(scaleType).bytes(),
        ...(values.kind === 'offset'
          ? [values.offsets.cast(scaleType).bytes()]
          : zeros(values, weight as PareWeight & { kind: 'grid' }, groups)),
      ]
      return (weight as { sorted?: boolean }).sorted ? [...parts, bytesOf(values.groupOf)] : parts
    }
    case 'blocks':
      return [values.bytes.bytes()]
    case 'bilevel': {
      const { bits, scaleBits = bits, zeroBits = bits, tile } = values
      const { scaleScale, scaleZero, zeroScale, zeroZero } = values.second
      const groups = columns / tile.columns
      return [
        packed(values.codes, rows, columns, bits),
        packed(values.scaleCodes, rows, groups, scaleBits),
        packed(values.zeroCodes, rows, groups, zeroBits),
        ...[scaleScale, scaleZero, zeroScale, zeroZero].filter((part) => part !== undefined).map(half),
      ]
    }
    case 'codebook': {
      const [high, wide, books] = values.codes.shape as [number, number, number]
      const codes = packed(values.codes.cast('u16'), high, wide * books, values.bits)
      return [codes, half(values.codebooks), half(values.scales)]
    }
    case 'column_levels':
      return [values.levels.bytes(), half(values.lows), half(values.highs), values.words.bytes()]
    case 'bitmask':
      return [values.mask, bytesOf(markedBefore(values.mask, rows, columns)), values.kept.bytes()]
    case 'masked_grid': {
      const { grid, mask, codes, scales } = values
      const groups = Math.ceil(columns / groupWidth(grid, columns))
      const { sorted } = weight as PareWeight & { kind: 'masked_grid' }
      return [
        ...[mask, bytesOf(markedBefore(mask, rows, columns)), packed(codes, 1, codes.size, grid.bits)],
        ...[scales.cast(grid.scaleType).bytes(), ...zeros(values, { symmetric: grid.symmetric }, groups)],
        ...(sorted ? [bytesOf(values.groupOf)] : []),
      ]
    }
    case 'rotated_grid':
      return [
        packed(values.codes, rows, columns, values.bits),
        bytesOf(Float32Array.of(values.scale)),
        half(values.columnScales),
        bytesOf(Uint32Array.of(values.seed)),
      ]
    case 'sparse_rows':
      return [
        bytesOf(values.rowOffsets),
        columnBytes(values.columns, columns),
        tensor(values.values).cast(values.valueType).bytes(),
      ]
    case 'sum':
      return values.terms.flatMap((term, i) =>
        bytesOfParts(term, (weight as PareWeight & { kind: 'sum' }).terms[i]!),
      )
    case 'product': {
      const { left, right } = weight as PareWeight & { kind: 'product' }
      return [...bytesOfParts(values.left, left), ...bytesOfParts(values.right, right)]
    }
    case 'scaled':
      return [
        ...[values.rows, values.columns].filter((part) => part !== undefined).map((part) => part.bytes()),
        ...bytesOfParts(values.values, (weight as PareWeight & { kind: 'scaled' }).values),
      ]
    case 'permuted':
      return [
        columnBytes(values.order, columns),
        ...bytesOfParts(values.values, (weight as PareWeight & { kind: 'permuted' }).values),
      ]
  }
}

function packed(codes: Tensor, rows: number, columns: number, bits: number): Uint8Array {
  const bytes = codes.bytes()
  const stored = codes.dtype === 'u16' ? new Uint16Array(bytes.slice().buffer) : bytes
  checkCodes(stored, rows * columns, bits, 'PARE_E_PLANNED_FORM')
  return bytesOf(packRows(stored, rows, columns, bits))
}

/** @throws OptionError for a symmetric grid with a zero that is not in the middle, which no file would tell. */
function zeros(
  { zeros, grid }: StoredValues & { kind: 'grid' | 'masked_grid' },
  { symmetric, zeroType }: Pick<PareWeight & { kind: 'grid' }, 'symmetric' | 'zeroType'>,
  groups: number,
): Uint8Array[] {
  if (symmetric) {
    const middle = 2 ** (grid.bits - 1)
    const other = (zeros.cast('f32').toArray() as Float32Array).find((zero) => zero !== middle)
    if (other === undefined) return []
    throw new OptionError(
      `a symmetric grid of ${grid.bits} bits has zeros of ${middle}, got ${other}; say that it is not symmetric`,
      { code: 'PARE_E_PLANNED_FORM' },
    )
  }
  return [zeroType ? zeros.cast(zeroType).bytes() : packed(zeros, zeros.extent(0), groups, grid.bits)]
}

const columnBytes = (columns: Uint32Array, width: number): Uint8Array =>
  bytesOf(columnType(width) === 'U16' ? Uint16Array.from(columns) : columns)

/** Marks of a mask before each row, and of all, [rows + 1]; bits past the last column count for nothing. */
function markedBefore(mask: Uint8Array, rows: number, columns: number): Uint32Array {
  const before = new Uint32Array(rows + 1)
  for (let row = 0; row < rows; row++) before[row + 1] = before[row]! + marksOfRow(mask, row, columns)
  return before
}
