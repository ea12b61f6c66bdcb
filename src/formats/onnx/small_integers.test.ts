import { expect, test } from 'vitest'
import { decodeSmallIntegers, isSmallInteger } from './small_integers.ts'

const bytes = Uint8Array.of(0xf7, 0x81)

test("elements stand from the lowest bits on, signed ones in two's complement", () => {
  expect([...decodeSmallIntegers('U4', bytes, 4)]).toEqual([7, 15, 1, 8])
  expect([...decodeSmallIntegers('I4', bytes, 4)]).toEqual([7, -1, 1, -8])
  expect([...decodeSmallIntegers('U2', bytes, 8)]).toEqual([3, 1, 3, 3, 1, 0, 0, 2])
  expect([...decodeSmallIntegers('I2', bytes, 8)]).toEqual([-1, 1, -1, -1, 1, 0, 0, -2])
})
test('the last byte may hold fewer elements than fit', () => {
  expect([...decodeSmallIntegers('I4', bytes, 3)]).toEqual([7, -1, 1])
  expect(decodeSmallIntegers('U2', new Uint8Array(0), 0)).toHaveLength(0)
})
test('more elements than the bytes hold are refused, and other types are none of these', () => {
  expect(() => decodeSmallIntegers('U4', bytes, 5)).toThrow(RangeError)
  expect(['U4', 'I4', 'U2', 'I2'].every(isSmallInteger)).toBe(true)
  expect(['U8', 'F4', 'C128', 'toString'].some(isSmallInteger)).toBe(false)
})
