/**
 * Products of a few inputs with a weight of additive codebooks by tables, without its numbers. Egiazarian et al. 2024,
 * arXiv:2401.06118, section 4.4; arithmetic: native/src/codebook_lookup.rs.
 *
 *   T[j, m, k] = <C[m, k], x_j>,    y_i = s_i sum over j and m of T[j, m, b_ijm]
 */
import { OptionError } from '../../tensor/errors.ts'
import { scope, Tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import type { CodebookValues } from './codebook.ts'

/** A weight whose codes lie as the tables are read: u8 [in / wide, out, books]. */
export interface LookupWeight {
  codes: Tensor
  codebooks: Tensor
  scales: Tensor
}

/** @throws OptionError for tiles of more than one row, or codes of more than 8 bits */
export function lookupWeight({ codes, codebooks, scales, bits }: CodebookValues): LookupWeight {
  if (bits > 8 || codebooks.extent(2) !== 1)
    throw new OptionError(
      `tables need codes of at most 8 bits and tiles of one row, got ${bits} bits and ${codebooks.extent(2)} rows; decode the weight`,
    )
  return { codes: scope(() => codes.permute([1, 0, 2]).cast('u8').contiguous()), codebooks, scales }
}

/**
 * x [rows, in] f32 times the transposed weight: [rows, out]. Worth it for up to about 6 rows; the same bits for every number
 * of threads.
 *
 * @throws ShapeError where x does not fit
 */
export function lookupProduct({ codes, codebooks, scales }: LookupWeight, x: Tensor): Tensor {
  const handle = callNative((native) =>
    native.codebookLookup(codes.handle, codebooks.handle, scales.handle, x.handle),
  )
  return new Tensor(x.kernels, handle, 'f32', [x.extent(0), codes.extent(1)])
}
