/** Softmax and norms of one row of numbers, in f64. */

export function softmax(row: Float64Array): Float64Array {
  const top = row.reduce((a, b) => Math.max(a, b), -Infinity)
  const powers = row.map((x) => Math.exp(x - top))
  const total = powers.reduce((a, b) => a + b, 0)
  return powers.map((p) => p / total)
}

/** y (dy - sum(dy y)) */
export function softmaxGradient(y: Float64Array, dy: Float64Array): Float64Array {
  const total = y.reduce((sum, value, i) => sum + value * dy[i]!, 0)
  return y.map((value, i) => value * (dy[i]! - total))
}

/** dy - exp(y) sum(dy) */
export function logSoftmaxGradient(y: Float64Array, dy: Float64Array): Float64Array {
  const total = dy.reduce((sum, value) => sum + value, 0)
  return y.map((value, i) => dy[i]! - Math.exp(value) * total)
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

/**
 * With h = (x - mean) / sqrt(variance + epsilon), scale that root's inverse and g = dy weight: dx = scale (g - mean(g) -
 * h mean(g h)), and what the row adds to the gradients of weight and bias. A mean that is not `centred` is 0.
 */
export function normGradient(
  row: Float64Array,
  weight: Float64Array | undefined,
  dy: Float64Array,
  epsilon: number,
  centred: boolean,
): { dx: Float64Array; dweight: Float64Array; dbias: Float64Array } {
  const average = (x: Float64Array) => x.reduce((sum, value) => sum + value, 0) / x.length
  const mean = centred ? average(row) : 0
  const scale = 1 / Math.sqrt(average(row.map((x) => (x - mean) ** 2)) + epsilon)
  const h = row.map((x) => (x - mean) * scale)
  const g = dy.map((value, i) => value * (weight?.[i] ?? 1))
  const [drift, along] = [centred ? average(g) : 0, average(g.map((value, i) => value * h[i]!))]
  return {
    dx: g.map((value, i) => scale * (value - drift - h[i]! * along)),
    dweight: dy.map((value, i) => value * h[i]!),
    dbias: dy,
  }
}
