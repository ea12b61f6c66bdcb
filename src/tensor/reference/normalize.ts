/** Softmax and norms of one row of numbers, in f64. */

export function softmax(row: Float64Array): Float64Array {
  const top = row.reduce((a, b) => Math.max(a, b), -Infinity)
  const powers = row.map((x) => Math.exp(x - top))
  const total = powers.reduce((a, b) => a + b, 0)
  return powers.map((p) => p / total)
}

export function logSoftmax(row: Float64Array): Float64Array {
  const top = row.reduce((a, b) => Math.max(a, b), -Infinity)
  const total = row.reduce((sum, x) => sum + Math.exp(x - top), 0)
  return row.map((x) => x - top - Math.log(total))
}

/** x / sqrt(mean(x^2) + epsilon) * weight */
export function rmsNorm(row: Float64Array, weight: Float64Array | undefined, epsilon: number): Float64Array {
  const meanSquare = row.reduce((sum, x) => sum + x * x, 0) / row.length
  return row.map((x, i) => (x / Math.sqrt(meanSquare + epsilon)) * (weight?.[i] ?? 1))
}

/** (x - mean) / sqrt(variance + epsilon) * weight + bias, with the variance over n */
export function layerNorm(
  row: Float64Array,
  weight: Float64Array | undefined,
  bias: Float64Array | undefined,
  epsilon: number,
): Float64Array {
  const mean = row.reduce((sum, x) => sum + x, 0) / row.length
  const centred = row.map((x) => x - mean)
  return rmsNorm(centred, weight, epsilon).map((x, i) => x + (bias?.[i] ?? 0))
}
