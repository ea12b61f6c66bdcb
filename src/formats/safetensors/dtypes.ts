/** The element types of safetensors and their sizes; order is that of the reference writer, first type first. */

/** Bits of one element. Types of less than a byte are packed, so that a whole tensor fills whole bytes. */
export const dtypeBits: Readonly<Record<string, number>> = {
  U64: 64,
  I64: 64,
  F64: 64,
  C64: 64,
  F32: 32,
  U32: 32,
  I32: 32,
  BF16: 16,
  F16: 16,
  U16: 16,
  I16: 16,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  F8_E8M0: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  I8: 8,
  U8: 8,
  F6_E3M2: 6,
  F6_E2M3: 6,
  F4: 4,
  BOOL: 8,
}

const rank = new Map(Object.keys(dtypeBits).map((dtype, index) => [dtype, index]))

/** The reference's order in a file: wide types first (each tensor stays aligned to its items), then by name. */
export function compareInFile(a: { type: string; name: string }, b: { type: string; name: string }): number {
  return rank.get(a.type)! - rank.get(b.type)! || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
}

/** Size in bytes of `count` elements; undefined for an unknown type or a size that is no whole byte. */
export function dtypeBytes(dtype: string, count: number): number | undefined {
  if (!Object.hasOwn(dtypeBits, dtype)) return undefined
  const bits = dtypeBits[dtype]!
  if (bits >= 8) {
    const bytes = count * (bits / 8)
    return Number.isSafeInteger(bytes) ? bytes : undefined
  }
  // In steps of 8 elements, since count * bits may exceed 2^53.
  const bytes = Math.floor(count / 8) * bits + ((count % 8) * bits) / 8
  return Number.isSafeInteger(bytes) ? bytes : undefined
}
