/** A sparse matrix as the values that are kept, row after row, and one bit for each place. */
import { scope, Tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'

export interface BitmaskValues {
  kind: 'bitmask'
  shape: readonly [number, number]
  /** [rows, ceil(columns / 8)]: bit c % 8 of byte c / 8 marks column c as kept. */
  mask: Uint8Array
  /** [kept], in the order of the rows. */
  kept: Tensor
}

/** f32 [rows, columns], 0 where nothing is kept. @throws FormatError where marks and values do not agree. */
export function decodeBitmask({ shape, mask, kept }: BitmaskValues): Tensor {
  return scope(() => {
    const values = kept.dtype === 'f16' || kept.dtype === 'bf16' ? kept : kept.cast('f32')
    const handle = callNative((native) => native.decodeBitmask(mask, values.handle, shape[0], shape[1]))
    return new Tensor(values.kernels, handle, 'f32', shape)
  })
}

/** A bit a place, and the values as they are stored. */
export function bitsOfBitmask({ shape: [rows, columns], kept }: BitmaskValues, valueBits: number): number {
  return rows * Math.ceil(columns / 8) * 8 + kept.size * valueBits
}
