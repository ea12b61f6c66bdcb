import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { decodeIntegers, decodeToF32, isFloatType, isIntegerType } from './decode.ts'
import { dtypeBits } from './dtypes.ts'

const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer)

test.each<[string, ArrayBufferView, number[]]>([
  ['I8', Int8Array.of(-128, 127), [-128, 127]],
  ['U8', Uint8Array.of(0, 255), [0, 255]],
  ['I16', Int16Array.of(-32768, 32767), [-32768, 32767]],
  ['U16', Uint16Array.of(1, 65535), [1, 65535]],
  ['I32', Int32Array.of(-(2 ** 31), 2 ** 31 - 1), [-(2 ** 31), 2 ** 31 - 1]],
  ['U32', Uint32Array.of(1, 2 ** 32 - 1), [1, 2 ** 32 - 1]],
  ['I64', BigInt64Array.of(-(2n ** 53n) + 1n, 5n), [-(2 ** 53) + 1, 5]],
  ['U64', BigUint64Array.of(2n ** 53n - 1n, 0n), [2 ** 53 - 1, 0]],
  ['BOOL', Uint8Array.of(0, 1, 2), [0, 1, 1]],
])('%s: whole numbers come out exact to the ends of their range', (type, stored, values) => {
  expect([...decodeIntegers(type, bytesOf(stored), values.length)]).toEqual(values)
  expect([...decodeIntegers(type, bytesOf(stored), values.length - 1, 1)]).toEqual(values.slice(1))
  expect([...decodeToF32(type, bytesOf(stored), values.length)]).toEqual(values.map(Math.fround))
})
test('a whole number of 64 bits past 2^53 is refused, not rounded', () => {
  expect(() => decodeIntegers('U64', bytesOf(BigUint64Array.of(1n, 2n ** 53n)), 2)).toThrow(/below 2\^53/)
  expect(() => decodeIntegers('I64', bytesOf(BigInt64Array.of(-(2n ** 63n))), 1)).toThrow(FormatError)
})
test('floats of every width decode to f32, also from bytes that are not aligned', () => {
  const shifted = (stored: ArrayBufferView) => {
    const bytes = new Uint8Array(stored.byteLength + 1)
    bytes.set(bytesOf(stored), 1)
    return bytes.subarray(1)
  }
  expect([...decodeToF32('F64', shifted(Float64Array.of(1.5, 1e300)), 2)]).toEqual([1.5, Infinity])
  expect([...decodeToF32('F32', shifted(Float32Array.of(-2, 0.25)), 1, 1)]).toEqual([0.25])
  expect([...decodeToF32('F16', shifted(Uint16Array.of(0x3e00, 0xfc00)), 2)]).toEqual([1.5, -Infinity])
  expect([...decodeToF32('BF16', shifted(Uint16Array.of(0x3fc0)), 1)]).toEqual([1.5])
  expect([...decodeToF32('F8_E5M2', Uint8Array.of(0x3c, 0xc0), 2)]).toEqual([1, -2])
  expect([...decodeToF32('F4', Uint8Array.of(0x21), 1, 1)]).toEqual([1])
})
test('every type of the format but the complex one is a float or whole', () => {
  const others = Object.keys(dtypeBits).filter((type) => !isFloatType(type) && !isIntegerType(type))
  expect(others).toEqual(['C64'])
  expect(() => decodeToF32('C64', new Uint8Array(8), 1)).toThrow(/numbers are needed, got the type C64/)
  expect(() => decodeToF32('toString', new Uint8Array(8), 1)).toThrow(FormatError)
  expect(() => decodeIntegers('F32', new Uint8Array(4), 1)).toThrow(/whole numbers are needed/)
  expect(() => decodeToF32('F32', new Uint8Array(4), 2)).toThrow(RangeError)
})
