/** What tests of products with stored weights share: rounded inputs, and the bytes that a source holds. */
import { Tensor, tensor } from '../../tensor/index.ts'
import type { WeightSource } from '../weight_source.ts'

/** x [rows, columns], each 32 of a row to whole numbers up to 127 times a scale of their own. */
export function roundedInputs(x: Tensor): Tensor {
  const columns = x.extent(1)
  const values = Float32Array.from(x.toArray(), Number)
  for (let row = 0; row < values.length; row += columns)
    for (let start = 0; start < columns; start += 32) {
      const part = values.subarray(row + start, row + Math.min(start + 32, columns))
      const scale = Math.fround(part.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127)
      const factor = scale === 0 ? 0 : Math.fround(1 / scale)
      for (const [i, value] of part.entries()) part[i] = scale * roundHalfEven(Math.fround(value * factor))
    }
  return tensor(values, x.shape)
}

function roundHalfEven(x: number): number {
  const below = Math.floor(x)
  return x - below === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)
}

/** Of its tensors. */
export function heldBytes(source: WeightSource): number {
  let total = 0
  for (const each of source.resources()) if (each instanceof Tensor) total += each.bytes().length
  return total
}
