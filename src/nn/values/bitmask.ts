/** A sparse matrix as the values that are kept, row after row, and one bit for each place. */
import { FormatError } from '../../tensor/errors.ts'
import { scope, type Tensor, tensor } from '../../tensor/index.ts'

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
  const [rows, columns] = shape
  const width = Math.ceil(columns / 8)
  const values = scope(() => kept.cast('f32').toArray() as Float32Array)
  const dense = new Float32Array(rows * columns)
  let next = 0
  for (let row = 0; row < rows; row++) {
    for (let byte = 0; byte < width; byte++) {
      const marks = mask[row * width + byte]!
      if (marks === 0) continue
      const start = row * columns + byte * 8
      const end = Math.min(8, columns - byte * 8)
      for (let bit = 0; bit < end; bit++) if (marks & (1 << bit)) dense[start + bit] = values[next++]!
    }
  }
  if (next !== values.length)
    throw new FormatError(
      `a bitmask of [${shape.join(', ')}] marks ${next} places for ${values.length} values; it is damaged`,
      { code: 'PARE_E_BITMASK', facts: { marks: next, values: values.length } },
    )
  return tensor(dense, shape)
}

/** A bit a place, and the values as they are stored. */
export function bitsOfBitmask({ shape: [rows, columns], kept }: BitmaskValues, valueBits: number): number {
  return rows * Math.ceil(columns / 8) * 8 + kept.size * valueBits
}
