/** Weights with a mask as they are stored: the values that are kept, and a bit for each place. */
import { sizeOf } from '../../tensor/dtype.ts'
import { type DType, type Tensor, tensor } from '../../tensor/index.ts'
import type { BitmaskValues } from './bitmask.ts'
import { type StoredSource, storedSource } from './values.ts'

/** [rows, ceil(columns / 8)]: bit c % 8 of byte c / 8 marks column c. @param mask not 0 where a weight is kept, [rows * columns] */
export function packedMarks(mask: Uint8Array, [rows, columns]: readonly [number, number]): Uint8Array {
  const width = Math.ceil(columns / 8)
  const marks = new Uint8Array(rows * width)
  for (let row = 0, i = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, i++)
      if (mask[i]) marks[row * width + (column >> 3)]! |= 1 << (column & 7)
  return marks
}

/**
 * The kept values of a weight [rows, columns], in f32 where they are f64.
 *
 * @example bitmaskOf(tensor([1, 0], [1, 2]), Uint8Array.of(1, 0)) // marks [1], kept [1]
 */
export function bitmaskOf(weight: Tensor, mask: Uint8Array): BitmaskValues {
  const shape = weight.shape as readonly [number, number]
  const values = weight.toArray() as Float32Array | Float64Array
  const kept = values.filter((_, i) => mask[i] !== 0)
  const dtype: DType = sizeOf(weight.dtype) > 4 ? 'f32' : weight.dtype
  return { kind: 'bitmask', shape, mask: packedMarks(mask, shape), kept: tensor(kept, [kept.length], dtype) }
}

/** A weight as it is stored: with a mask where there is one. */
export function bitmaskSource(weight: Tensor, mask: Uint8Array | undefined): StoredSource {
  if (mask) return storedSource(bitmaskOf(weight, mask))
  return storedSource({ kind: 'dense', numbers: weight.dtype === 'f64' ? weight.cast('f32') : weight })
}
