/**
 * Number types of tensors. f32, f64 and bf16 compute (bf16 with f32 sums, rounded once); the others store.
 * The order of `dtypes` is the code that crosses the border (native/src/dtype.rs).
 */
export const dtypes = [
  'f32',
  'f64',
  'bf16',
  'f16',
  'i8',
  'i16',
  'i32',
  'u8',
  'u16',
  'u32',
  'u64',
  'bool',
] as const
export type DType = (typeof dtypes)[number]
export type ComputeType = 'f32' | 'f64' | 'bf16'

const sizes = {
  f32: 4,
  f64: 8,
  bf16: 2,
  f16: 2,
  i8: 1,
  i16: 2,
  i32: 4,
  u8: 1,
  u16: 2,
  u32: 4,
  u64: 8,
  bool: 1,
}

/** Bytes of one element. */
export const sizeOf = (dtype: DType): number => sizes[dtype]

export const codeOf = (dtype: DType): number => dtypes.indexOf(dtype)

export const computes = (dtype: DType): dtype is ComputeType =>
  dtype === 'f32' || dtype === 'f64' || dtype === 'bf16'

/** Arrays that JavaScript holds numbers in. f16 and bf16 are Uint16Array of their bit patterns. */
export type NumberArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array

const arrays = {
  f32: Float32Array,
  f64: Float64Array,
  bf16: Uint16Array,
  f16: Uint16Array,
  i8: Int8Array,
  i16: Int16Array,
  i32: Int32Array,
  u8: Uint8Array,
  u16: Uint16Array,
  u32: Uint32Array,
  u64: BigUint64Array,
  bool: Uint8Array,
}

/** A zeroed array of the stored form of `length` elements. */
export function storageArray(dtype: DType, length: number): NumberArray {
  return new arrays[dtype](length)
}

/** The stored form of packed little-endian bytes; shares memory where the bytes are aligned. */
export function asStorage(dtype: DType, bytes: Uint8Array): NumberArray {
  const size = sizeOf(dtype)
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice()
  return new arrays[dtype](aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / size)
}

export const bytesOf = (array: NumberArray): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
