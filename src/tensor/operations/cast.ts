import { codeOf, computes, type DType } from '../dtype.ts'
import { OptionError } from '../errors.ts'
import { apply, type Operation } from '../operation.ts'
import { Tensor } from '../tensor.ts'

const castOperation: Operation<[Tensor], { dtype: DType }, Tensor> = {
  name: 'cast',
  forward: (kernels, [x], { dtype }) => new Tensor(kernels, kernels.cast(x.handle, dtype), dtype, x.shape),
  // To whole numbers and back nothing flows.
  backward: ({ inputs: [x], options: { dtype }, gradient }) => [
    computes(dtype) && computes(x.dtype) ? cast(gradient, x.dtype) : undefined,
  ],
}

/**
 * The values as another number type; x itself where it has that type. Floats round to nearest even; floats to
 * integers cut towards zero and saturate, NaN becomes 0; integers to narrower integers wrap; all but 0 is true.
 *
 * @example cast(tensor([1.5, -2]), 'i32') // [1, -2]
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (codeOf(dtype) < 0) throw new OptionError(`cast: no number type is called ${dtype}`)
  return x.dtype === dtype ? x : apply(castOperation, [x], { dtype })
}

/** bf16 as f32, for sums of several operations that should round once at the end; others unchanged. */
export const widen = (x: Tensor): Tensor => (x.dtype === 'bf16' ? cast(x, 'f32') : x)
