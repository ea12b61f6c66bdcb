/** Which weights stay f32 where the others are stored in f16. */
import type { GraphWeight } from './weight_tensors.ts'

/** Of all numbers, at most. */
const share = 1 / 16

/**
 * Marks the smallest weights, those of one size alike, up to a sixteenth of all numbers: norms, biases, depthwise and first
 * convolutions. They add 6% to the file at most. On EfficientNet-Lite0 they are the larger part of what f16 loses: 1.7e-3
 * of the largest logit where all are rounded, 4.0e-4 where these are not.
 *
 * @param asked of a weight whose type somebody named
 */
export function withWideWeights(
  weights: readonly GraphWeight[],
  asked: (name: string) => boolean,
): readonly GraphWeight[] {
  const sums = new Map<number, number>()
  for (const weight of weights)
    if (!weight.grid) sums.set(sizeOf(weight), (sums.get(sizeOf(weight)) ?? 0) + sizeOf(weight))
  let left = share * [...sums.values()].reduce((a, b) => a + b, 0)
  let largest = 0
  for (const [size, sum] of [...sums].toSorted(([a], [b]) => a - b)) {
    left -= sum
    if (left < 0) break
    largest = size
  }
  return weights.map((weight) =>
    weight.grid || sizeOf(weight) > largest || asked(weight.name) ? weight : { ...weight, wide: true },
  )
}

const sizeOf = ({ shape }: GraphWeight): number => shape.reduce((a, b) => a * b, 1)
