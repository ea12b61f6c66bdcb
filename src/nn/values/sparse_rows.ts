/** A sparse matrix by rows (CSR): what is added to something else, or stands alone where little is left. */
import { FormatError } from '../../tensor/errors.ts'
import { type Tensor, tensor } from '../../tensor/index.ts'

export interface SparseRowValues {
  kind: 'sparse_rows'
  shape: readonly [number, number]
  /** [rows + 1]: entries of row r are rowOffsets[r] to rowOffsets[r + 1], exclusive. */
  rowOffsets: Uint32Array
  /** Column of each entry. */
  columns: Uint32Array
  /** Value of each entry. Entries of one place add up. */
  values: Float32Array
  /** Type that values are stored in. */
  valueType: 'f16' | 'bf16' | 'f32'
}

/** f32 [rows, columns]. @throws FormatError for offsets that fall, and columns past the last. */
export function decodeSparseRows({ shape, rowOffsets, columns, values }: SparseRowValues): Tensor {
  const [rows, width] = shape
  const dense = new Float32Array(rows * width)
  if (rowOffsets.length !== rows + 1 || rowOffsets[0] !== 0 || rowOffsets[rows] !== values.length)
    throw damaged(`needs ${rows + 1} offsets from 0 to ${values.length}`)
  for (let row = 0; row < rows; row++) {
    const [start, end] = [rowOffsets[row]!, rowOffsets[row + 1]!]
    if (end < start || end > values.length) throw damaged(`row ${row} ends before it begins`)
    for (let entry = start; entry < end; entry++) {
      const column = columns[entry]!
      if (column >= width) throw damaged(`column ${column} is past the last of ${width}`)
      dense[row * width + column]! += values[entry]!
    }
  }
  return tensor(dense, shape)
}

const damaged = (what: string) =>
  new FormatError(`a sparse matrix by rows: ${what}; it is damaged`, { code: 'PARE_E_SPARSE_ROWS' })

/** Values, 16 bits for a column where that is enough, and an offset a row. */
export function bitsOfSparseRows({ shape: [rows, width], values, valueType }: SparseRowValues): number {
  const columnBits = width <= 2 ** 16 ? 16 : 32
  return values.length * (columnBits + (valueType === 'f32' ? 32 : 16)) + (rows + 1) * 32
}
