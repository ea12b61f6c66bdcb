/**
 * Products with weights that stay packed: blocks of ggml as they lie in the file, and grids of 2, 3, 4 or 8 bits. Arithmetic:
 * native/src/packed_product.
 *
 *   y = x W^T + b,   W = step * (code - zero) for each group, less an offset in some blocks
 */
import { customGradient, linear, scope, type Tensor } from '../../tensor/index.ts'
import { sizeOfValues, type Values } from '../grid.ts'
import type { WeightSource } from '../weight_source.ts'
import { decodePacked, type PackedWeight, packWeight } from './packed_weight.ts'
import { packedWords, type StoredProduct, storedProduct } from './stored_words.ts'

/** What products are made with: `int8` rounds each 32 inputs to 8 bits with a scale of their own. */
export type ProductActivations = 'f32' | 'int8'

export interface PackedSource extends WeightSource {
  readonly packed: { weight: PackedWeight; activations: ProductActivations }
  readonly stored: StoredProduct
}

/** Rows of inputs up to which the bits of a row do not depend on how many there are; more are multiplied another way. */
export const fewRows = 16

/**
 * A weight that every product reads from its codes, without its numbers in memory. The gradient of x goes through the
 * decoded weight, with `int8` as if inputs were not rounded. A grid is packed anew: its own tensors may
 * go afterwards, blocks are used as they are.
 *
 * @param activations `int8` is faster and loses about what Q8_0 does @default 'f32'
 * @example packedSource({ kind: 'blocks', type: 'Q4_0', shape: [576, 576], bytes }, 'int8').matmul(x)
 */
export function packedSource(values: Values, activations: ProductActivations = 'f32'): PackedSource {
  const weight = packWeight(values)
  const words = packedWords(weight)
  const size = sizeOfValues(values)
  const dense = () => decodePacked(weight)
  return {
    packed: { weight, activations },
    stored: { words, activations, fewOnly: false },
    shape: weight.shape,
    matmul: rowProduct(weight.shape, (x) => storedProduct(words, weight.shape[0], x, activations), dense),
    dense,
    parameters: () => new Map(),
    size: () => size,
    resources: () => [weight.bytes, weight.order],
  }
}

/**
 * A product of f32 rows [rows, in] -> [rows, out] for x of any leading axes and type, with a bias. The gradient of x goes through
 * the numbers of the weight, and so do products in other types.
 */
export function rowProduct(
  [rows, columns]: readonly [number, number],
  product: (x: Tensor) => Tensor,
  dense: () => Tensor,
): WeightSource['matmul'] {
  const withGradient = customGradient({
    name: 'packedProduct',
    forward: ([x]: [Tensor]) => ({ output: scope(() => product(x)), saved: [] }),
    backward: ({ gradient }) => [scope(() => gradient.matmul(dense()))],
  })
  return (x, bias) =>
    scope(() => {
      if (x.dtype !== 'f32') return linear(x, dense().cast(x.dtype), bias)
      const y = withGradient(x.reshape([x.size / columns, columns]))
      const shaped = y.reshape([...x.shape.slice(0, -1), rows])
      return bias ? shaped.add(bias) : shaped
    })
}
