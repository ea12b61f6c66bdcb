/** Stored number types in plain arithmetic: rounding to 16-bit floats, and the rules of casts. */
import { type DType, type NumberArray, storageArray } from '../dtype.ts'

const scratch = new DataView(new ArrayBuffer(8))

/** Exponent e of a finite value that is not 0: 2^e <= |value| < 2^(e + 1). */
function exponentOf(value: number): number {
  scratch.setFloat64(0, value)
  return ((scratch.getUint32(0) >>> 20) & 0x7ff) - 1023
}

/** To the nearest whole number, halves to the even one. */
export function roundHalfEven(value: number): number {
  const below = Math.floor(value)
  const rest = value - below
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1
  return below % 2 === 0 ? below : below + 1
}

/** To `precision` significant bits, to nearest even; infinity where |value| rounds past `largest`. */
function roundToBits(value: number, precision: number, smallestExponent: number, largest: number): number {
  if (!Number.isFinite(value) || value === 0) return value
  const unit = 2 ** (Math.max(exponentOf(value), smallestExponent) - precision + 1)
  const rounded = roundHalfEven(value / unit) * unit
  return Math.abs(rounded) > largest ? Math.sign(value) * Infinity : rounded
}

function toBf16Bits(value: number): number {
  scratch.setFloat32(0, roundToBits(value, 8, -126, 255 * 2 ** 120))
  return scratch.getUint16(0)
}

function fromBf16Bits(bits: number): number {
  scratch.setUint32(0, bits * 2 ** 16)
  return scratch.getFloat32(0)
}

function toF16Bits(value: number): number {
  if (Number.isNaN(value)) return 0x7e00
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const size = Math.abs(roundToBits(value, 11, -14, 65504))
  if (size === Infinity) return sign | 0x7c00
  if (size < 2 ** -14) return sign | (size * 2 ** 24)
  const exponent = exponentOf(size)
  return sign | ((exponent + 15) << 10) | (size / 2 ** (exponent - 10) - 1024)
}

function fromF16Bits(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >>> 10) & 31
  const mantissa = bits & 1023
  if (exponent === 31) return mantissa ? NaN : sign * Infinity
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (mantissa + 1024) * 2 ** (exponent - 25))
}

/** The number that a stored element means; u64 as a bigint. */
export function decode(dtype: DType, stored: number | bigint): number | bigint {
  if (dtype === 'bf16') return fromBf16Bits(stored as number)
  if (dtype === 'f16') return fromF16Bits(stored as number)
  return stored
}

const integerBits: Partial<Record<DType, [bits: number, signed: boolean]>> = {
  i8: [8, true],
  i16: [16, true],
  i32: [32, true],
  u8: [8, false],
  u16: [16, false],
  u32: [32, false],
  u64: [64, false],
}

const isFloat = (dtype: DType) => integerBits[dtype] === undefined && dtype !== 'bool'

/**
 * The stored form of a number that comes from type `from`: floats round to nearest even; floats to integers cut
 * towards zero and saturate, NaN becomes 0; integers wrap; anything but 0 is a true bool.
 */
export function encode(dtype: DType, value: number | bigint, from: DType): number | bigint {
  if (dtype === 'bool') return Number(value) !== 0 ? 1 : 0
  if (dtype === 'bf16') return toBf16Bits(Number(value))
  if (dtype === 'f16') return toF16Bits(Number(value))
  const [bits, signed] = integerBits[dtype] ?? []
  if (bits === undefined) return Number(value)
  const whole = isFloat(from) ? saturate(value as number, bits, signed!) : BigInt(value)
  const wrapped = signed ? BigInt.asIntN(bits, whole) : BigInt.asUintN(bits, whole)
  return dtype === 'u64' ? wrapped : Number(wrapped)
}

function saturate(value: number, bits: number, signed: boolean): bigint {
  if (Number.isNaN(value)) return 0n
  const [low, high] = signed
    ? [-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n]
    : [0n, 2n ** BigInt(bits) - 1n]
  if (value <= Number(low)) return low
  return value >= Number(high) ? high : BigInt(Math.trunc(value))
}

/** Numbers of a computing type, rounded once into its stored form. */
export function store(dtype: DType, values: ArrayLike<number>): NumberArray {
  const stored = storageArray(dtype, values.length)
  for (let i = 0; i < values.length; i++) stored[i] = encode(dtype, values[i]!, 'f64') as never
  return stored
}
