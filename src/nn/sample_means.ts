/** Means over the rows of each sample, such as its tokens, where some of them do not count. */
import type { Tensor } from '../tensor/index.ts'

/** [samples, ..] -> [samples, rows] */
export const bySamples = (x: Tensor): Tensor => x.reshape([x.extent(0), x.size / Math.max(1, x.extent(0))])

/**
 * The mean of each sample over its rows that count, and 0 where none does: [samples, ..] -> [samples].
 *
 * @param rows 0 where a row does not count
 * @param counted bool, of the shape of `rows`. @default all
 * @example const losses = meanOfRows(crossEntropy(logits, labels, { reduction: 'none', ignored }), labels.notEqual(ignored))
 */
export function meanOfRows(rows: Tensor, counted?: Tensor): Tensor {
  if (!counted) return bySamples(rows).mean(1)
  const counts = bySamples(counted.cast(rows.dtype)).sum(1)
  return bySamples(rows).sum(1).div(counts.maximum(1))
}
