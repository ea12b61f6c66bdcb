/**
 * What a Linear or Embedding holds. A plain tensor is the simplest source; compressed weights, LoRA pairs,
 * fake-quantised views and slices of larger weights are others. The layer does not know which.
 */

import { sizeOf } from '../tensor/dtype.ts'
import { elementCount, linear, type Tensor } from '../tensor/index.ts'
import type { ResourceHolder } from '../tensor/scope.ts'

export interface SourceSize {
  /** Bits that the codes, scales and zeros carry. */
  informationBits: number
  /** Bits that they take where they are stored, padding included. */
  storedBits: number
  /** Name of the array that owns the bits where many weights read one; its bits count once. */
  owner?: string
}

export interface WeightSource extends ResourceHolder {
  /** [out, in] */
  readonly shape: readonly [number, number]
  /** x [.., in] times the transposed weight, plus bias [out]: [.., out]. */
  matmul(x: Tensor, bias?: Tensor): Tensor
  /** The weight as numbers, [out, in] in f32 (or the type of a plain tensor). The caller's scope owns it. */
  dense(): Tensor
  /** The continuous part that training may change, by name. */
  parameters(): ReadonlyMap<string, Tensor>
  size(): SourceSize
}

/**
 * A plain tensor as a weight source. One of more axes, such as the weight [out, kh, kw, in] of a convolution, is the
 * matrix of its rows [out, kh * kw * in].
 *
 * @example denseSource(tensor([1, 2], [1, 2])).matmul(x)
 */
export function denseSource(weight: Tensor): WeightSource {
  const [out, ...rest] = weight.shape as [number, ...number[]]
  const inputs = elementCount(rest)
  const bits = weight.size * sizeOf(weight.dtype) * 8
  const matrix = () => weight.reshape([out, inputs])
  return {
    shape: [out, inputs],
    matmul: (x, bias) => linear(x, matrix(), bias),
    dense: matrix,
    parameters: () => new Map([['weight', weight]]),
    size: () => ({ informationBits: bits, storedBits: bits }),
    resources: () => [weight],
  }
}
