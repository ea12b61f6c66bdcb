/**
 * Products of a few inputs with a weight of additive codebooks by tables, without its numbers. Egiazarian et al. 2024,
 * arXiv:2401.06118, section 4.4; arithmetic: native/src/codebook_lookup.rs.
 *
 *   T[j, m, k] = <C[m, k], x_j>,    y_i = s_i sum over j and m of T[j, m, b_ijm]
 */
import { OptionError } from '../../tensor/errors.ts'
import { scope, Tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import { type CodebookValues, decodeCodebooks } from './codebook.ts'
import type { Words } from './stored_words.ts'

/** A weight whose codes lie as the products read them. */
export interface LookupWeight {
  shape: readonly [number, number]
  /** u8, every code of its outputs and groups once. */
  codes: Tensor
  /** f32 [codebooks, wide, 256]: entries are lanes. */
  codebooks: Tensor
  /** f32 [out] */
  scales: Tensor
}

/** @throws OptionError for tiles of more than one row, or codes of more than 8 bits; ShapeError for a code past the last entry */
export function lookupWeight({ shape, codes, codebooks, scales, bits }: CodebookValues): LookupWeight {
  if (bits > 8 || codebooks.extent(2) !== 1)
    throw new OptionError(
      `tables need codes of at most 8 bits and tiles of one row, got ${bits} bits and ${codebooks.extent(2)} rows; decode the weight`,
    )
  const [packed, turned] = callNative((native) => native.packLookup(codes.handle, codebooks.handle)) as [
    number,
    number,
  ]
  const [, groups, books] = codes.shape as [number, number, number]
  return {
    shape,
    codes: new Tensor(codes.kernels, packed, 'u8', [Math.ceil(shape[0] / LANE) * LANE * groups * books]),
    codebooks: new Tensor(codes.kernels, turned, 'f32', [books, codebooks.extent(3), 256]),
    scales,
  }
}

/** Outputs are filled up to a multiple of this. */
const LANE = 64

export const lookupWords = ({ codes, codebooks, scales }: LookupWeight): Words => [
  4,
  ...[codes.handle, codebooks.handle, scales.handle],
]

/** The weight as numbers, f32 [out, in]. */
export function decodeLookup({ shape, codes, codebooks, scales }: LookupWeight): Tensor {
  const [books, wide, entries] = codebooks.shape as [number, number, number]
  const size = [shape[0], shape[1] / wide, books] as const
  return scope(() => {
    const handle = callNative((native) => native.unpackLookup(codes.handle, ...size))
    const stored = new Tensor(codes.kernels, handle, 'u32', size)
    const entriesOfBooks = codebooks.permute([0, 2, 1]).reshape([books, entries, 1, wide])
    return decodeCodebooks({
      ...{ kind: 'codebook', shape, bits: 8, codes: stored, scales },
      codebooks: entriesOfBooks,
    })
  })
}
