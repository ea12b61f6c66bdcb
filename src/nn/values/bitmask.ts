/** A sparse matrix as the values that are kept, row after row, and one bit for each place. */
import { scope, Tensor, tensor } from '../../tensor/index.ts'
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

/**
 * Marks of a mask [rows * columns] of zeros and ones, as a bitmask has them: [rows, ceil(columns / 8)].
 *
 * @example packMarks(Uint8Array.of(1, 0, 1), [1, 3]) // [0b101]
 */
export function packMarks(mask: Uint8Array, [rows, columns]: readonly [number, number]): Uint8Array {
  const width = Math.ceil(columns / 8)
  const marks = new Uint8Array(rows * width)
  for (let row = 0, at = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, at++)
      if (mask[at]) marks[row * width + (column >> 3)]! |= 1 << (column & 7)
  return marks
}

/** The entries of an array where the mask is 1, in order. */
export function livingOf<Numbers extends Float32Array | Float64Array | Uint8Array>(
  all: Numbers,
  mask: Uint8Array,
): Numbers {
  let count = 0
  for (const bit of mask) count += bit
  const living = new (all.constructor as new (length: number) => Numbers)(count)
  for (let i = 0, next = 0; i < mask.length; i++) if (mask[i]) living[next++] = all[i]!
  return living
}

/** What lives of a matrix, as numbers of a type. @param mask 0 and 1, [rows * columns] */
export function bitmaskOf(dense: Tensor, mask: Uint8Array, numbers: 'f16' | 'bf16' | 'f32'): BitmaskValues {
  return scope(() => {
    const shape = dense.shape as readonly [number, number]
    const living = livingOf(dense.toArray() as Float32Array | Float64Array, mask)
    return {
      kind: 'bitmask',
      shape,
      mask: packMarks(mask, shape),
      kept: tensor(living, [living.length], numbers),
    }
  })
}
