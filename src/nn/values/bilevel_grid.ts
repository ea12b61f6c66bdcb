/**
 * A grid whose scales and zeros are codes themselves: first of each group of columns, then of a tile of rows.
 * Dettmers et al. 2023, arXiv:2306.03078, section 4.1; every step is rounded to f16, as the files' readers compute.
 *
 *   s = scaleScale * (scaleCode - scaleZero)     z = zeroScale * (zeroCode - zeroZero)     value = s * (code - z)
 */
import { scope, type Tensor } from '../../tensor/index.ts'

export interface BilevelValues {
  kind: 'bilevel'
  /** Bits of a code. */
  bits: number
  /** Bits of a scale code. @default those of a code */
  scaleBits?: number
  /** Bits of a zero code. @default those of a code */
  zeroBits?: number
  /** Columns of a group, and rows that share the parameters of the second level. */
  tile: { rows: number; columns: number }
  /** u8 [rows, columns] */
  codes: Tensor
  /** u8 [rows, groups] */
  scaleCodes: Tensor
  /** u8 [rows, groups] */
  zeroCodes: Tensor
  /** f32 [tiles of rows, groups], exactly representable in f16, each. Without those of zeros, z is the zero code. */
  second: { scaleScale: Tensor; scaleZero: Tensor; zeroScale?: Tensor; zeroZero?: Tensor }
}

/** Rounded to f16: exact for differences and products of halves, whose f32 results have bits enough. */
const half = (x: Tensor): Tensor => x.cast('f16').cast('f32')

/** f32 [rows, columns], each value an f16. */
export function decodeBilevel({ codes, scaleCodes, zeroCodes, tile, second }: BilevelValues): Tensor {
  return scope(() => {
    const [rows, columns] = codes.shape as [number, number]
    const [groups, tiles] = [columns / tile.columns, rows / tile.rows]
    const byRow = (parameter: Tensor) => parameter.reshape([tiles, 1, groups])
    const level = (codesOfLevel: Tensor, scale: Tensor, zero: Tensor) => {
      const wide = codesOfLevel.cast('f32').reshape([tiles, tile.rows, groups])
      return half(half(wide.sub(byRow(zero))).mul(byRow(scale))).reshape([rows, groups, 1])
    }
    const { scaleScale, scaleZero, zeroScale, zeroZero } = second
    const scales = level(scaleCodes, scaleScale, scaleZero)
    const zeros =
      zeroScale && zeroZero
        ? level(zeroCodes, zeroScale, zeroZero)
        : zeroCodes.cast('f32').reshape([rows, groups, 1])
    const wide = codes.cast('f32').reshape([rows, groups, tile.columns])
    return half(half(wide.sub(zeros)).mul(scales)).reshape([rows, columns])
  })
}

/** Codes of all levels, and two or four halves a tile. */
export function bitsOfBilevel({
  bits,
  scaleBits,
  zeroBits,
  codes,
  scaleCodes,
  second,
}: BilevelValues): number {
  const codesOfGroups = scaleCodes.size * ((scaleBits ?? bits) + (zeroBits ?? bits))
  return codes.size * bits + codesOfGroups + Object.values(second).length * second.scaleScale.size * 16
}
