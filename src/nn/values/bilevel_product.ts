/** Products with grids of two levels from their codes. Arithmetic: native/src/bilevel_product. */
import { concat, ones, scope, Tensor, zeros } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import type { BilevelValues } from './bilevel_grid.ts'
import type { Words } from './stored_words.ts'

export interface BilevelWeight {
  /** Of a code, 1 to 4. */
  bits: number
  shape: readonly [number, number]
  /** u8: scale and zero codes of groups of 16 columns, and codes, row after row. */
  bytes: Tensor
  /** Bits of f16 as u16 [tiles, 4, groups of 16]. */
  second: Tensor
}

/** Columns of a group; wider ones are kept as several. */
const GROUP = 16

/** Nothing for codes of more than 4 bits on either level, and for groups that are no multiple of 16 columns. */
export function bilevelWeight(values: BilevelValues): BilevelWeight | undefined {
  const { bits, scaleBits = bits, zeroBits = bits, codes, scaleCodes, zeroCodes, tile } = values
  if (Math.max(bits, scaleBits, zeroBits) > 4 || tile.columns % GROUP !== 0) return undefined
  return scope(() => {
    const { scaleScale, scaleZero, zeroScale, zeroZero } = values.second
    // Zeros that are codes themselves: 1 * (code - 0).
    const parts = [
      scaleScale,
      scaleZero,
      zeroScale ?? ones(scaleScale.shape),
      zeroZero ?? zeros(scaleScale.shape),
    ]
    const second = concat(
      parts.map((part) => part.reshape([1, ...part.shape])),
      0,
    )
    const [packed, levels] = callNative((native) =>
      native.packBilevel(bits, codes.handle, scaleCodes.handle, zeroCodes.handle, second.handle),
    ) as [number, number]
    const [rows, columns] = codes.shape as [number, number]
    const groups = 2 * Math.ceil(columns / GROUP / 2)
    return {
      bits,
      shape: [rows, columns],
      bytes: new Tensor(codes.kernels, packed, 'u8', [rows * (groups + groups * 2 * bits) + PAST]),
      second: new Tensor(codes.kernels, levels, 'u16', [scaleScale.extent(0), 4, groups]),
    }
  })
}

/** Bytes behind the last row. */
const PAST = 16

export const bilevelWords = ({ bits, shape, bytes, second }: BilevelWeight): Words => [
  ...[2, bits, shape[0]],
  ...[bytes.handle, second.handle],
]

/** The weight as numbers, f32 [rows, columns]. */
export function decodeBilevelWeight({ bits, shape, bytes, second }: BilevelWeight): Tensor {
  const handle = callNative((native) => native.unpackBilevel(bits, bytes.handle, second.handle, ...shape))
  return new Tensor(bytes.kernels, handle, 'f32', shape)
}
