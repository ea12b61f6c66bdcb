/**
 * Products with weights in blocks of ggml, which stay as they lie in the file; arithmetic: native/src/packed_product.
 *
 *   y = x W^T + b,   W = step * (code - zero) - offset for each sub-block
 */
import { customGradient, linear, scope, Tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import { type BlockValues, decodeValues, sizeOfValues } from '../grid.ts'
import type { WeightSource } from '../weight_source.ts'

/** What products are made with: `int8` rounds each 32 inputs to 8 bits with a scale of their own. */
export type ProductActivations = 'f32' | 'int8'

/**
 * A weight that is read from its blocks in every product, without its numbers in memory. The gradient of x goes through
 * the decoded weight, with `int8` as if inputs were not rounded.
 *
 * @param activations `int8` is faster and loses about what Q8_0 does @default 'f32'
 * @example packedSource({ kind: 'blocks', type: 'Q4_0', shape: [576, 576], bytes }, 'int8').matmul(x)
 */
export function packedSource(values: BlockValues, activations: ProductActivations = 'f32'): WeightSource {
  const [rows, columns] = values.shape
  const product = customGradient({
    name: 'packedProduct',
    forward: ([x]: [Tensor]) => ({ output: packedProduct(values, x, activations), saved: [] }),
    backward: ({ gradient }) => [scope(() => gradient.matmul(decodeValues(values)))],
  })
  return {
    shape: values.shape,
    matmul: (x, bias) =>
      scope(() => {
        if (x.dtype !== 'f32') return linear(x, decodeValues(values).cast(x.dtype), bias)
        const y = product(x.reshape([x.size / columns, columns])).reshape([...x.shape.slice(0, -1), rows])
        return bias ? y.add(bias) : y
      }),
    dense: () => decodeValues(values),
    parameters: () => new Map(),
    size: () => sizeOfValues(values),
    resources: () => [values.bytes],
  }
}

/** x f32 [rows, in] -> [rows, out] */
function packedProduct(
  { type, bytes, shape }: BlockValues,
  x: Tensor,
  activations: ProductActivations,
): Tensor {
  const handle = callNative((native) =>
    native.packedProduct(type, bytes.handle, x.handle, undefined, activations),
  )
  return new Tensor(x.kernels, handle, 'f32', [x.extent(0), shape[0]])
}
