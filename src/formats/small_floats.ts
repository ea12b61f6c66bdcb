/**
 * Floats of 4, 6 and 8 bits, as safetensors names them.
 *
 *   value = (-1)^s * 1.m * 2^(e - bias), and 0.m * 2^(1 - bias) where e is 0
 *
 * F8_E4M3 (torch float8_e4m3fn) has no infinities and one NaN for each sign: Micikevicius et al. 2022, arXiv:2209.05433.
 * F8_E5M2 has those of IEEE 754. The FNUZ types have no infinities and no -0, whose bits are their only NaN; their bias is
 * larger by 1: Noune et al. 2022, arXiv:2206.02915. F4, F6 and F8_E8M0 are those of OCP Microscaling Formats 1.0, section
 * 5.3 and 5.4: F4 and F6 are all finite, F8_E8M0 is 2^(bits - 127) without a sign, its last code NaN.
 *
 * Elements of less than a byte are one stream of bits, the first element in the lowest bits of the first byte. For F4 this is
 * the order of torch float4_e2m1fn_x2 (torch/headeronly/util/Float4_e2m1fn_x2.h). safetensors leaves the order open and torch
 * has no type of 6 bits, so that F6 follows the same rule: four elements in three bytes.
 */

interface Layout {
  readonly bits: 4 | 6 | 8
  readonly exponent: number
  readonly mantissa: number
  readonly bias: number
  /** Which codes are no number. */
  readonly special: 'ieee' | 'last' | 'negative zero' | 'none'
}

const layouts = {
  F8_E4M3: { bits: 8, exponent: 4, mantissa: 3, bias: 7, special: 'last' },
  F8_E5M2: { bits: 8, exponent: 5, mantissa: 2, bias: 15, special: 'ieee' },
  F8_E4M3FNUZ: { bits: 8, exponent: 4, mantissa: 3, bias: 8, special: 'negative zero' },
  F8_E5M2FNUZ: { bits: 8, exponent: 5, mantissa: 2, bias: 16, special: 'negative zero' },
  F8_E8M0: { bits: 8, exponent: 8, mantissa: 0, bias: 127, special: 'last' },
  F6_E2M3: { bits: 6, exponent: 2, mantissa: 3, bias: 1, special: 'none' },
  F6_E3M2: { bits: 6, exponent: 3, mantissa: 2, bias: 3, special: 'none' },
  F4: { bits: 4, exponent: 2, mantissa: 1, bias: 1, special: 'none' },
} as const satisfies Record<string, Layout>

export type SmallFloatName = keyof typeof layouts
export const smallFloatNames = Object.keys(layouts) as readonly SmallFloatName[]

export const isSmallFloat = (type: string): type is SmallFloatName => Object.hasOwn(layouts, type)

/** Bits of one element. */
export const smallFloatBits = (type: SmallFloatName): 4 | 6 | 8 => layouts[type].bits

const tables = new Map<SmallFloatName, Float32Array>()

/**
 * The values of all codes, [2^bits], each exact in f32. Shared: do not write to it.
 *
 * @example smallFloatValues('F8_E4M3')[0x7e] // 448
 */
export function smallFloatValues(type: SmallFloatName): Float32Array {
  let table = tables.get(type)
  if (!table) {
    const layout = layouts[type]
    table = Float32Array.from({ length: 2 ** layout.bits }, (_, code) => valueOfCode(layout, code))
    tables.set(type, table)
  }
  return table
}

function valueOfCode({ bits, exponent, mantissa, bias, special }: Layout, code: number): number {
  const m = code & (2 ** mantissa - 1)
  const e = (code >> mantissa) & (2 ** exponent - 1)
  const signed = exponent + mantissa < bits
  const sign = signed && code >> (bits - 1) ? -1 : 1
  const last = e === 2 ** exponent - 1
  if (special === 'ieee' && last) return m === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  if (special === 'last' && last && m === 2 ** mantissa - 1) return Number.NaN
  if (special === 'negative zero' && code === 2 ** (bits - 1)) return Number.NaN
  const fraction = m / 2 ** mantissa
  // A type of exponents alone has no zero and no subnormals.
  if (e === 0 && signed) return sign * fraction * 2 ** (1 - bias)
  return sign * (1 + fraction) * 2 ** (e - bias)
}

/**
 * `count` values in f32 from element `start` on.
 *
 * @param bytes must hold elements up to `start + count`
 * @example decodeSmallFloats('F4', Uint8Array.of(0x21), 2) // [0.5, 1]
 */
export function decodeSmallFloats(
  type: SmallFloatName,
  bytes: Uint8Array,
  count: number,
  start = 0,
): Float32Array {
  const table = smallFloatValues(type)
  const bits = layouts[type].bits
  if ((start + count) * bits > bytes.length * 8)
    throw new RangeError(
      `${type}: ${count} elements from ${start} on need ${(start + count) * bits} bits, got ${bytes.length * 8}`,
    )
  const values = new Float32Array(count)
  if (bits === 8) for (let i = 0; i < count; i++) values[i] = table[bytes[start + i]!]!
  else {
    const mask = 2 ** bits - 1
    for (let i = 0; i < count; i++) {
      const at = (start + i) * bits
      const byte = Math.floor(at / 8)
      // An element lies in two bytes at most.
      const word = bytes[byte]! | ((bytes[byte + 1] ?? 0) << 8)
      values[i] = table[(word >> (at % 8)) & mask]!
    }
  }
  return values
}
