/** Pruned weights on a grid: one bit for each place, codes of those that live, and a scale and a zero a group of columns. */
import { scope, Tensor, tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import { type AffineValues, type GridForm, groupWidth } from '../grid.ts'
import { livingOf, packMarks } from './bitmask.ts'

export interface MaskedGridValues {
  kind: 'masked_grid'
  shape: readonly [number, number]
  grid: GridForm
  /** [rows, ceil(columns / 8)]: bit c % 8 of byte c / 8 marks column c as living. */
  mask: Uint8Array
  /** u8 [living], in the order of the rows. */
  codes: Tensor
  /** f32 [rows, groups], exactly representable in the grid's scale type. */
  scales: Tensor
  /** u8 [rows, groups], codes of the grid; the middle where it is symmetric. */
  zeros: Tensor
  /** Group of each column; neighbours share one unless the columns were sorted. */
  groupOf: Uint32Array
}

/** f32 [rows, columns], 0 where pruned. @throws FormatError where marks and codes do not agree. */
export function decodeMaskedGrid({ shape, mask, codes, scales, zeros, groupOf }: MaskedGridValues): Tensor {
  return scope(() => {
    const groups = tensor(groupOf, [groupOf.length], 'u32')
    const wide = zeros.cast('f32')
    const handle = callNative((native) =>
      native.decodeMaskedGrid(mask, codes.handle, groups.handle, scales.handle, wide.handle),
    )
    return new Tensor(codes.kernels, handle, 'f32', shape)
  })
}

/** Codes of every place less those of what is pruned: `mask` is 1 where a weight lives, [rows * columns]. */
export function maskedGrid({ codes, ...rest }: AffineValues, mask: Uint8Array): MaskedGridValues {
  const shape = codes.shape as [number, number]
  const living = livingOf(codes.toArray() as Uint8Array, mask)
  return {
    ...rest,
    kind: 'masked_grid',
    shape,
    mask: packMarks(mask, shape),
    codes: tensor(living, [living.length], 'u8'),
  }
}

/** The same weights as codes of every place: what is pruned has the code of its group's zero. For files without masks. */
export function unmasked({
  shape,
  grid,
  mask,
  codes,
  scales,
  zeros,
  groupOf,
}: MaskedGridValues): AffineValues {
  const [rows, columns] = shape
  const [bytes, zeroOf, living] = [Math.ceil(columns / 8), zeros.bytes(), codes.bytes()]
  const groups = zeros.extent(1)
  const all = new Uint8Array(rows * columns)
  let next = 0
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const lives = (mask[row * bytes + (column >> 3)]! >> (column & 7)) & 1
      all[row * columns + column] = lives ? living[next++]! : zeroOf[row * groups + groupOf[column]!]!
    }
  return { kind: 'grid', grid, codes: tensor(all, shape, 'u8'), scales, zeros, groupOf }
}

/**
 * A bit a place, the codes, scales and zeros, 32 bits a row for where its codes begin, and an i32 per column where
 * columns were sorted. Of each n of m that live, n * bits / m + 1 bits a weight: 3 for 2:4 and 4:8 at 4 bits.
 */
export function bitsOfMaskedGrid({ shape: [rows, columns], grid, codes, groupOf }: MaskedGridValues): number {
  const width = groupWidth(grid, columns)
  const groups = Math.ceil(columns / width)
  const scaleBits = grid.scaleType === 'f32' ? 32 : 16
  const zeroBits = grid.symmetric ? 0 : grid.bits
  const sorted = groupOf.some((group, column) => group !== Math.floor(column / width))
  return (
    rows * Math.ceil(columns / 8) * 8 +
    codes.size * grid.bits +
    rows * groups * (scaleBits + zeroBits) +
    (rows + 1) * 32 +
    (sorted ? 32 * columns : 0)
  )
}
