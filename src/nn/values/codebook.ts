/**
 * Additive codebooks: a group of neighbouring weights is a sum of entries, one of each codebook, times the scale of its
 * rows. Egiazarian et al. 2024, arXiv:2401.06118, section 3.
 *
 *   W[o * og + a, i * ig + c] = scales[o] * sum_m codebooks[m, codes[o, i, m], a, c]     sums in f32, m ascending
 */
import { indexSelect, scope, type Tensor } from '../../tensor/index.ts'

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

/** f32 [out, in] */
export function decodeCodebooks({ shape, codes, codebooks, scales }: CodebookValues): Tensor {
  return scope(() => {
    const [rowGroups, columnGroups, books] = codes.shape as [number, number, number]
    const [, entries, high, wide] = codebooks.shape as [number, number, number, number]
    const chosen = (m: number) =>
      indexSelect(
        codebooks.slice(0, m, m + 1).reshape([entries, high * wide]),
        0,
        codes
          .slice(2, m, m + 1)
          .contiguous()
          .reshape([rowGroups * columnGroups]),
      )
    let sum = chosen(0)
    for (let m = 1; m < books; m++) sum = sum.add(chosen(m))
    const scaled = sum
      .reshape([rowGroups, columnGroups, high, wide])
      .mul(scales.reshape([rowGroups, 1, 1, 1]))
    return scaled.permute([0, 2, 1, 3]).reshape(shape)
  })
}

/** Codes at their own width, codebooks and scales in f16; what a container wastes is not counted. */
export function bitsOfCodebooks({ bits, codes, codebooks, scales }: CodebookValues): number {
  return codes.size * bits + (codebooks.size + scales.size) * 16
}
