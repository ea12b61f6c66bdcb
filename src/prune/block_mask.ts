/** Masks of whole rectangles: scores are pooled, the best blocks stay, and their mask is spread over their weights. */
import type { Shape } from '../tensor/index.ts'
import { keptCount, type Mask, type Scores, type Ties, topMask } from './mask.ts'

interface Blocks {
  readonly shape: readonly [number, number]
  readonly pooling?: 'average' | 'max'
  readonly further?: 'flattened' | 'whole'
}

/**
 * The mask of the best blocks. Averages are sums, divided by the count of a block's entries only where blocks differ in
 * it. A tensor with one axis is one row.
 *
 * @example blockMask({ values: Float32Array.of(1, 0, 2, 3), shape: [2, 2] }, 0.5, { shape: [1, 2] }, 'lowest') // [0, 0, 1, 1]
 */
export function blockMask(
  { values, shape }: Scores,
  sparsity: number,
  { shape: [height, width], pooling = 'average', further = 'flattened' }: Blocks,
  ties: Ties,
): Mask {
  const { rows, columns, inner } = matrixOf(shape, further)
  const across = Math.ceil(columns / width)
  const count = Math.ceil(rows / height) * across
  /** Entries in order, each with its block. */
  const visit = (see: (i: number, block: number) => void) => {
    let i = 0
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) {
        const block = Math.floor(row / height) * across + Math.floor(column / width)
        for (let k = 0; k < inner; k++) see(i++, block)
      }
  }
  const pooled = new Float64Array(count).fill(pooling === 'max' ? Number.NEGATIVE_INFINITY : 0)
  const sizes = new Float64Array(count)
  visit((i, block) => {
    const value = values[i]!
    pooled[block] = pooling === 'max' ? Math.max(pooled[block]!, value) : pooled[block]! + value
    sizes[block]!++
  })
  const isRagged = rows % height !== 0 || columns % width !== 0
  const scores = pooling === 'average' && isRagged ? pooled.map((sum, block) => sum / sizes[block]!) : pooled
  const kept = topMask(scores, keptCount(count, sparsity), ties)
  const mask = new Uint8Array(values.length)
  visit((i, block) => {
    mask[i] = kept[block]!
  })
  return mask
}

/** What is cut into blocks: rows and columns of cells with `inner` entries each. */
function matrixOf(shape: Shape, further: 'flattened' | 'whole') {
  const product = (extents: readonly number[]) => extents.reduce((all, extent) => all * extent, 1)
  if (shape.length < 2) return { rows: 1, columns: product(shape), inner: 1 }
  return further === 'flattened'
    ? { rows: shape[0]!, columns: product(shape.slice(1)), inner: 1 }
    : { rows: shape[0]!, columns: shape[1]!, inner: product(shape.slice(2)) }
}
