/** Softmax cross-entropy of one row of logits in f64, and its gradient. */

/** A target t [classes]; a label is a t of one 1. `smoothing` of it is spread over all classes. */
const smoothed = (t: Float64Array, smoothing: number) =>
  t.map((value) => (1 - smoothing) * value + smoothing / t.length)

export function logSumExp(row: Float64Array): number {
  const top = row.reduce((a, b) => Math.max(a, b), -Infinity)
  return top + Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0))
}

/** sum of t' (log(sum(exp(x))) - x); what the target does not hold costs nothing. */
export function crossEntropy(row: Float64Array, target: Float64Array, smoothing: number): number {
  const top = logSumExp(row)
  return smoothed(target, smoothing).reduce((sum, t, i) => sum + (t === 0 ? 0 : t * (top - row[i]!)), 0)
}

/** softmax(x) sum(t') - t' */
export function crossEntropyGradient(
  row: Float64Array,
  target: Float64Array,
  smoothing: number,
): Float64Array {
  const top = logSumExp(row)
  const targets = smoothed(target, smoothing)
  const total = targets.reduce((sum, t) => sum + t, 0)
  return row.map((x, i) => Math.exp(x - top) * total - targets[i]!)
}
