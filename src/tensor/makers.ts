/** Tensors from numbers, from bytes, or all of one value, in the memory of the current kernels. */
import { currentKernels } from './current_kernels.ts'
import { bytesOf, type DType, storageArray } from './dtype.ts'
import { ShapeError } from './errors.ts'
import { nativeFault } from './native.ts'
import { checkShape, elementCount, type Shape, showShape } from './shape.ts'
import { Tensor } from './tensor.ts'

/** A tensor from numbers in row-major order; the array is copied. f16 and bf16 are rounded from the given values. */
export function tensor(
  values: ArrayLike<number> | BigUint64Array,
  shape: Shape = [values.length],
  dtype: DType = 'f32',
): Tensor {
  checkShape(shape, 'tensor')
  if (elementCount(shape) !== values.length) {
    throw new ShapeError(
      `tensor: shape ${showShape(shape)} needs ${elementCount(shape)} values, got ${values.length}`,
    )
  }
  const narrow = dtype === 'bf16' || dtype === 'f16'
  const stored = storageArray(narrow ? 'f64' : dtype, values.length)
  if (dtype === 'u64') stored.set(Array.from<number | bigint, bigint>(values, BigInt) as never)
  else if (dtype === 'bool')
    stored.set(Array.from<number | bigint, number>(values, (x) => Number(x !== 0)) as never)
  else stored.set(values as never)
  const whole = fromBytes(bytesOf(stored), shape, narrow ? 'f64' : dtype)
  if (!narrow) return whole
  try {
    return new Tensor(whole.kernels, whole.kernels.cast(whole.handle, dtype), dtype, shape)
  } catch (error) {
    throw nativeFault(error)
  } finally {
    whole.dispose()
  }
}

/** A tensor from packed little-endian bytes, which are copied. */
export function fromBytes(bytes: Uint8Array, shape: Shape, dtype: DType): Tensor {
  checkShape(shape, 'fromBytes')
  const kernels = currentKernels()
  try {
    return new Tensor(kernels, kernels.upload(dtype, shape, bytes), dtype, shape)
  } catch (error) {
    throw nativeFault(error)
  }
}

export function full(shape: Shape, value: number, dtype: DType = 'f32'): Tensor {
  checkShape(shape, 'full')
  const kernels = currentKernels()
  try {
    return new Tensor(kernels, kernels.fill(dtype, shape, value), dtype, shape)
  } catch (error) {
    throw nativeFault(error)
  }
}

export const zeros = (shape: Shape, dtype: DType = 'f32'): Tensor => full(shape, 0, dtype)
export const ones = (shape: Shape, dtype: DType = 'f32'): Tensor => full(shape, 1, dtype)

/** Of the shape, type and memory of x. */
export const fullLike = (x: Tensor, value: number): Tensor =>
  new Tensor(x.kernels, x.kernels.fill(x.dtype, x.shape, value), x.dtype, x.shape)
export const zerosLike = (x: Tensor): Tensor => fullLike(x, 0)

/** Whole numbers from 0 to count - 1. @default u32 */
export const arange = (count: number, dtype: DType = 'u32'): Tensor =>
  tensor(
    Array.from({ length: count }, (_, i) => i),
    [count],
    dtype,
  )
