/** Whole numbers of less than a byte, as ONNX has them: U4, I4, U2 and I2, packed from the lowest bit on. */
const small: Readonly<Record<string, { bits: number; isSigned: boolean }>> = {
  U4: { bits: 4, isSigned: false },
  I4: { bits: 4, isSigned: true },
  U2: { bits: 2, isSigned: false },
  I2: { bits: 2, isSigned: true },
}

export const isSmallInteger = (type: string): boolean => Object.hasOwn(small, type)

/**
 * The first `count` elements of one of these types; signed ones in two's complement.
 *
 * @throws RangeError where the bytes are too few.
 * @example decodeSmallIntegers('I4', Uint8Array.of(0xf7), 2) // 7, -1
 */
export function decodeSmallIntegers(type: string, bytes: Uint8Array, count: number): Float32Array {
  const { bits, isSigned } = small[type]!
  const perByte = 8 / bits
  if (bytes.length * perByte < count)
    throw new RangeError(
      `${count} elements of ${type} need ${Math.ceil(count / perByte)} bytes, got ${bytes.length}`,
    )
  const levels = 2 ** bits
  return Float32Array.from({ length: count }, (_, i) => {
    const code = (bytes[Math.floor(i / perByte)]! >> (bits * (i % perByte))) & (levels - 1)
    return isSigned && code >= levels / 2 ? code - levels : code
  })
}
