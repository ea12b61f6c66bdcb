/** Rounds a matrix to a ggml block type with what is known of its inputs. Arithmetic: native/src/blocks/rows.rs. */
import { type Tensor, tensor } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import { type BlockTypeName, rowBytes } from './block_types.ts'
import type { BlockValues } from './grid.ts'

/**
 * Every weight goes to its nearest level; scales and minimums of the blocks are those for which the error
 *
 *   sum over a row of importance_i * sqrt(sigma^2 + w_i^2) * (w_i - w'_i)^2
 *
 * is small, sigma^2 a mean square of the weights around (Q6_K leaves the root out, Q8_0 has nothing to choose).
 *
 * @param weight [rows, columns], finite; computed with as f32
 * @param importance of each column, finite and not negative: the mean square of the input
 * @throws NumericalError where a weight cannot be stored, ShapeError where blocks do not divide the rows
 * @example fitBlocks(weight, 'Q4_K', importance)
 */
export function fitBlocks(weight: Tensor, type: BlockTypeName, importance: Float32Array): BlockValues {
  const [rows, columns] = weight.shape as [number, number]
  const numbers = weight.cast('f32').toArray() as Float32Array
  const bytes = callNative((native) => native.blocksQuantize(type, numbers, columns, importance))
  return {
    kind: 'blocks',
    type,
    shape: [rows, columns],
    bytes: tensor(bytes, [rows, rowBytes(type, columns)], 'u8'),
  }
}
