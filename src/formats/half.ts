/** The 16-bit floats of files: IEEE half (f16) with subnormals, and bfloat16. Rounding is half-to-even. */

const word = new DataView(new ArrayBuffer(4))

/** The value of 16 bits of IEEE half; exact. @example f16ToNumber(0x3c00) // 1 */
export function f16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 0x3ff
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  // Subnormals have no hidden one, and the exponent of the smallest normal number.
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25)
}

/** The nearest IEEE half of an f32 value, as 16 bits; from 65520 on it is infinite. @example numberToF16(1) // 0x3c00 */
export function numberToF16(value: number): number {
  word.setFloat32(0, value)
  const bits = word.getUint32(0)
  const sign = (bits >>> 16) & 0x8000
  const exponent = ((bits >>> 23) & 255) - 127 + 15
  const fraction = bits & 0x7fffff
  if (exponent === 255 - 127 + 15) return sign | 0x7c00 | (fraction ? 0x200 | (fraction >> 13) : 0)
  if (exponent >= 31) return sign | 0x7c00
  if (exponent < -10) return sign
  // Rounding up may carry into the exponent, which is the next larger number and so is right.
  return exponent > 0
    ? sign | rounded((exponent << 23) | fraction, 13)
    : sign | rounded(0x800000 | fraction, 14 - exponent)
}

/** The value of 16 bits of bfloat16; exact. */
export function bf16ToNumber(bits: number): number {
  word.setUint32(0, (bits & 0xffff) * 65536)
  return word.getFloat32(0)
}

/** The nearest bfloat16 of an f32 value, as 16 bits. */
export function numberToBf16(value: number): number {
  word.setFloat32(0, value)
  const bits = word.getUint32(0)
  // Rounding must not turn a NaN into an infinity; the quiet bit keeps it a NaN.
  return Number.isNaN(value) ? (bits >>> 16) | 0x40 : (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16
}

/** `n` without its `shift` lowest bits, rounded half-to-even. */
function rounded(n: number, shift: number): number {
  const floor = n >>> shift
  const rest = n & (2 ** shift - 1)
  const half = 2 ** (shift - 1)
  return floor + (rest > half || (rest === half && floor & 1) ? 1 : 0)
}
