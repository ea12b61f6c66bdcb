/**
 * A grid whose scales and zeros are codes themselves: first of each group of columns, then of a tile of rows.
 * Dettmers et al. 2023, arXiv:2306.03078, section 4.1; every step is rounded to f16, as the files' readers compute.
 *
 *   s = scaleScale * (scaleCode - scaleZero)     z = zeroScale * (zeroCode - zeroZero)     value = s * (code - z)
 *
 * The arithmetic stands in native/src/bilevel_decode.rs.
 */
import { Tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'

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

/** f32 [rows, columns], each value an f16. */
export function decodeBilevel({ codes, scaleCodes, zeroCodes, second }: BilevelValues): Tensor {
  const { scaleScale, scaleZero, zeroScale, zeroZero } = second
  const handle = callNative((native) =>
    native.decodeBilevel(
      codes.handle,
      scaleCodes.handle,
      zeroCodes.handle,
      scaleScale.handle,
      scaleZero.handle,
      zeroScale?.handle,
      zeroZero?.handle,
    ),
  )
  return new Tensor(codes.kernels, handle, 'f32', codes.shape)
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
