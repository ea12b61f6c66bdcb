/**
 * Additive codebooks: a group of neighbouring weights is a sum of entries, one of each codebook, times the scale of its
 * rows. Egiazarian et al. 2024, arXiv:2401.06118, section 3.
 *
 *   W[o * og + a, i * ig + c] = scales[o] * sum_m codebooks[m, codes[o, i, m], a, c]     sums in f32, m ascending
 */
import { Tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'

export interface CodebookValues {
  kind: 'codebook'
  shape: readonly [number, number]
  /** Bits of one code, 1 to 16. */
  bits: number
  /** u32 [out / og, in / ig, codebooks] */
  codes: Tensor
  /** f32 [codebooks, entries, og, ig], exactly representable in f16. */
  codebooks: Tensor
  /** f32 [out / og], exactly representable in f16. */
  scales: Tensor
}

/** f32 [out, in] @throws ShapeError for a code past the last entry */
export function decodeCodebooks({ shape, codes, codebooks, scales }: CodebookValues): Tensor {
  const handle = callNative((native) => native.decodeCodebooks(codes.handle, codebooks.handle, scales.handle))
  return new Tensor(codes.kernels, handle, 'f32', shape)
}

/** Codes at their own width, codebooks and scales in f16; what a container wastes is not counted. */
export function bitsOfCodebooks({ bits, codes, codebooks, scales }: CodebookValues): number {
  return codes.size * bits + (codebooks.size + scales.size) * 16
}
