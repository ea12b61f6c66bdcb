/** Products with sparse matrices by rows (CSR). Arithmetic: native/src/sparse_product.rs. */
import { scope, type Tensor, tensor } from '../../tensor/index.ts'
import { decodeSparseRows, type SparseRowValues } from './sparse_rows.ts'
import type { Words } from './stored_words.ts'

export interface SparseWeight {
  shape: readonly [number, number]
  /** u32 [rows + 1] */
  starts: Tensor
  /** u16, or u32 of more columns: of each entry. */
  columns: Tensor
  /** f32 */
  values: Tensor
}

/** @throws FormatError for offsets that fall, and columns past the last */
export function sparseWeight(stored: SparseRowValues): SparseWeight {
  scope(() => void decodeSparseRows(stored))
  const { shape, rowOffsets, columns, values } = stored
  const type = shape[1] <= 2 ** 16 ? 'u16' : 'u32'
  return {
    shape,
    starts: tensor(rowOffsets, [rowOffsets.length], 'u32'),
    columns: scope(() => tensor(columns, [columns.length], 'u32').cast(type)),
    values: tensor(values, [values.length]),
  }
}

/** The entries that are not 0 of a dense matrix. */
export function sparseRowsOf(dense: Tensor): SparseRowValues {
  const [rows, width] = dense.shape as [number, number]
  const numbers = dense.toArray() as Float32Array
  const rowOffsets = new Uint32Array(rows + 1)
  let count = 0
  for (let row = 0; row < rows; row++) {
    for (let place = row * width; place < (row + 1) * width; place++) if (numbers[place] !== 0) count++
    rowOffsets[row + 1] = count
  }
  const [columns, values] = [new Uint32Array(count), new Float32Array(count)]
  let entry = 0
  for (const [place, number] of numbers.entries()) {
    if (number === 0) continue
    columns[entry] = place % width
    values[entry++] = number
  }
  return { kind: 'sparse_rows', shape: [rows, width], rowOffsets, columns, values, valueType: 'f32' }
}

export const sparseWords = ({ starts, columns, values }: SparseWeight): Words => [
  3,
  ...[starts.handle, columns.handle, values.handle],
]

/** f32 [rows, columns] */
export const decodeSparseWeight = ({ shape, starts, columns, values }: SparseWeight): Tensor =>
  scope(() =>
    decodeSparseRows({
      ...{ kind: 'sparse_rows', shape, valueType: 'f32' },
      rowOffsets: starts.toArray() as Uint32Array,
      columns: columns.cast('u32').toArray() as Uint32Array,
      values: values.toArray() as Float32Array,
    }),
  )
