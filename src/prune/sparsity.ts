/** What is measured of sparse weights: zeros by tensor and in all, and how much two masks have in common. */
import { ShapeError } from '../tensor/errors.ts'
import { scope, type Tensor } from '../tensor/index.ts'
import type { Mask } from './mask.ts'

export interface SparsityOf {
  readonly size: number
  readonly nonZeros: number
  /** Share of exact zeros. */
  readonly sparsity: number
}

export interface SparsitySummary extends SparsityOf {
  /** By path. The numbers of the summary itself are those of all tensors together, biases included. */
  readonly tensors: ReadonlyMap<string, SparsityOf>
}

/** Counts the exact zeros of all tensors. @example measureSparsity(parameters.tensors()).sparsity */
export function measureSparsity(tensors: ReadonlyMap<string, Tensor>): SparsitySummary {
  const each = new Map(
    [...tensors].map(([path, x]) => {
      const nonZeros = scope(() => countNonZeros(x.toArray() as ArrayLike<number>))
      return [path, share(x.size, nonZeros)]
    }),
  )
  const sum = (of: (entry: SparsityOf) => number) =>
    [...each.values()].reduce((all, entry) => all + of(entry), 0)
  return {
    ...share(
      sum(({ size }) => size),
      sum(({ nonZeros }) => nonZeros),
    ),
    tensors: each,
  }
}

/** Entries of a mask that are kept, or weights that are not zero. */
export function countNonZeros(values: ArrayLike<number>): number {
  let count = 0
  for (let i = 0; i < values.length; i++) if (values[i] !== 0) count++
  return count
}

/**
 * Share of the entries of one mask that another one keeps too: |a and b| / max(|a|, 1).
 *
 * @example maskIntersection(Uint8Array.of(1, 1, 0), Uint8Array.of(1, 0, 1)) // 0.5
 */
export function maskIntersection(a: Mask, b: Mask): number {
  if (a.length !== b.length)
    throw new ShapeError(
      `maskIntersection: needs masks of one tensor, got ${a.length} and ${b.length} entries`,
    )
  const both = a.reduce((sum, bit, i) => sum + (bit & b[i]!), 0)
  return both / Math.max(countNonZeros(a), 1)
}

const share = (size: number, nonZeros: number): SparsityOf => ({
  size,
  nonZeros,
  sparsity: size === 0 ? 0 : (size - nonZeros) / size,
})
