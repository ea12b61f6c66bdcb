import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  decodeSmallFloats,
  type SmallFloatName,
  smallFloatBits,
  smallFloatNames,
  smallFloatValues,
} from './small_floats.ts'

/** Values by ml_dtypes, see make_small_floats.py. */
const golden = JSON.parse(readFileSync(new URL('golden/small_floats.json', import.meta.url), 'utf8')) as {
  values: Record<SmallFloatName, (number | string | null)[]>
  packed: Partial<Record<SmallFloatName, string>>
}
const goldenOf = (type: SmallFloatName) =>
  golden.values[type].map((value) => (value === null ? Number.NaN : Number(value)))

test.each(smallFloatNames)('%s: every code has the value that ml_dtypes gives it, -0 and NaN too', (type) => {
  const values = [...smallFloatValues(type)]
  expect(values).toHaveLength(2 ** smallFloatBits(type))
  // toEqual tells -0 from 0.
  expect(values).toEqual(goldenOf(type))
})
test.each<[SmallFloatName, number, number]>([
  ['F8_E4M3', 0x38, 1],
  ['F8_E4M3', 0x7e, 448],
  ['F8_E4M3', 0x7f, Number.NaN],
  ['F8_E4M3', 0xff, Number.NaN],
  ['F8_E4M3', 0x01, 2 ** -9],
  ['F8_E5M2', 0x7b, 57344],
  ['F8_E5M2', 0xfc, Number.NEGATIVE_INFINITY],
  ['F8_E5M2', 0x7d, Number.NaN],
  ['F8_E4M3FNUZ', 0x7f, 240],
  ['F8_E4M3FNUZ', 0x80, Number.NaN],
  ['F8_E4M3FNUZ', 0x40, 1],
  ['F8_E5M2FNUZ', 0x7f, 57344],
  ['F8_E5M2FNUZ', 0x80, Number.NaN],
  ['F8_E8M0', 0x7f, 1],
  ['F8_E8M0', 0x00, 2 ** -127],
  ['F8_E8M0', 0xfe, 2 ** 127],
  ['F8_E8M0', 0xff, Number.NaN],
  ['F6_E2M3', 0x1f, 7.5],
  ['F6_E3M2', 0x3f, -28],
  ['F4', 0x7, 6],
  ['F4', 0x9, -0.5],
])('%s: code %i is %d', (type, code, value) => {
  expect(smallFloatValues(type)[code]).toBe(value)
})
test('the first element of a byte lies in its lowest bits', () => {
  expect([...decodeSmallFloats('F4', Uint8Array.of(0x21, 0xf7), 4)]).toEqual([0.5, 1, 6, -6])
  // Codes 1, 2, 3, 4 of 6 bits: 000100 000011 000010 000001.
  const stream = Uint8Array.of(0b10000001, 0b00110000, 0b00010000)
  expect([...decodeSmallFloats('F6_E2M3', stream, 4)]).toEqual([0.125, 0.25, 0.375, 0.5])
})
test.each(['F4', 'F6_E2M3', 'F6_E3M2'] as const)('%s: a stream of all codes comes apart again', (type) => {
  const bytes = Buffer.from(golden.packed[type]!, 'hex')
  expect([...decodeSmallFloats(type, bytes, 2 ** smallFloatBits(type))]).toEqual(goldenOf(type))
})
test('a part that begins anywhere is a part of the whole', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...smallFloatNames),
      fc.uint8Array({ minLength: 3, maxLength: 30 }),
      fc.nat(60),
      fc.nat(60),
      (type, bytes, from, length) => {
        const all = Math.floor((bytes.length * 8) / smallFloatBits(type))
        const start = Math.min(from, all)
        const count = Math.min(length, all - start)
        const whole = decodeSmallFloats(type, bytes, all)
        expect(decodeSmallFloats(type, bytes, count, start)).toEqual(whole.slice(start, start + count))
      },
    ),
  )
})
test('elements past the end of the bytes are refused', () => {
  expect(() => decodeSmallFloats('F6_E3M2', new Uint8Array(3), 5)).toThrow(RangeError)
  expect(() => decodeSmallFloats('F8_E4M3', new Uint8Array(3), 2, 2)).toThrow(RangeError)
})
