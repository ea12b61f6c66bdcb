/** What trained weights take: numbers that are not zero, and bytes in the forms of Zhu and Gupta 2017, section 5. */
import { bitmaskBits } from '#src/prune/packed_mask.ts'
import { encodeRelativeRows, relativeRowsBits } from '#src/prune/relative_rows.ts'
import { countNonZeros } from '#src/prune/sparsity.ts'
import type { Tensor } from '#src/tensor/index.ts'

export interface Sizes {
  parameters: number
  nonZeros: number
  /** Share of exact zeros in the tensors with two axes or more. */
  measuredSparsity: number
  /** With a value in 16 bits. */
  bytes: {
    dense: number
    /** A bit for every weight of a tensor with zeros. */
    bitmask: number
    /** Rows with relative columns, in the width of gaps that is smallest, 2 to 8 bits, pointers of 32 bits. */
    rows: number
  }
}

const valueBits = 16

/** Tensors without zeros are stored as they are. */
export function sizesOf(weights: ReadonlyMap<string, Tensor>): Sizes {
  const each = [...weights.values()].map((weight) => {
    const values = weight.toArray() as Float32Array
    const nonZeros = countNonZeros(values)
    const dense = weight.size * valueBits
    const isSparse = weight.shape.length >= 2 && nonZeros < weight.size
    return {
      size: weight.size,
      nonZeros,
      isMatrix: weight.shape.length >= 2,
      dense,
      bitmask: isSparse ? bitmaskBits(weight.size, nonZeros, valueBits) : dense,
      rows: isSparse ? rowsBits(values, weight.shape[0]!) : dense,
    }
  })
  const sum = (of: (one: (typeof each)[number]) => number) => each.reduce((all, one) => all + of(one), 0)
  const matrices = sum(({ isMatrix, size }) => (isMatrix ? size : 0))
  return {
    parameters: sum(({ size }) => size),
    nonZeros: sum(({ nonZeros }) => nonZeros),
    measuredSparsity: sum(({ isMatrix, size, nonZeros }) => (isMatrix ? size - nonZeros : 0)) / matrices,
    bytes: {
      dense: Math.ceil(sum(({ dense }) => dense) / 8),
      bitmask: Math.ceil(sum(({ bitmask }) => bitmask) / 8),
      rows: Math.ceil(sum(({ rows }) => rows) / 8),
    },
  }
}

function rowsBits(values: Float32Array, rows: number): number {
  const mask = Uint8Array.from(values, (value) => (value === 0 ? 0 : 1))
  return Math.min(
    ...[2, 3, 4, 5, 6, 7, 8].map((indexBits) =>
      relativeRowsBits(encodeRelativeRows(values, mask, [rows, values.length / rows], { indexBits }), {
        valueBits,
        indexBits,
      }),
    ),
  )
}
