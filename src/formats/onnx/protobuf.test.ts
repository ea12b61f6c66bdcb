import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { bytesSource } from '../file.ts'
import { ProtobufFile } from './protobuf.ts'
import type { Fields, Whole } from './protobuf_fields.ts'
import { MessageWriter, partLength, partsLength } from './protobuf_writer.ts'

const file = (bytes: Uint8Array) => new ProtobufFile(bytesSource('x', bytes))
const fieldsOf = (bytes: Uint8Array): Fields => file(bytes).message({ start: 0, end: bytes.length })
const single = (parts: readonly unknown[]): Uint8Array => {
  expect(parts).toHaveLength(1)
  return parts[0] as Uint8Array
}
const writer = () => new MessageWriter()
/** Walks to the end. */
function walk(bytes: Uint8Array): number {
  const fields = fieldsOf(bytes)
  let count = 0
  while (fields.next()) count++
  return count
}

test('the examples of the specification: 150 is 08 96 01, "testing" is 12 07 ...', () => {
  expect([...single(writer().whole(1, 150).parts)]).toEqual([0x08, 0x96, 0x01])
  expect([...single(writer().text(2, 'testing').parts)]).toEqual([0x12, 7, ...Buffer.from('testing')])
  expect([...single(writer().whole(1, -2).parts)]).toEqual([0x08, 0xfe, ...new Array(8).fill(0xff), 1])
})
test('numbers of 64 bits come back exactly', () => {
  const whole = fc.oneof(fc.integer(), fc.maxSafeInteger(), fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n))
  fc.assert(
    fc.property(whole, (value: Whole) => {
      const fields = fieldsOf(single(writer().whole(536870911, value).parts))
      expect(fields.next()).toBe(true)
      expect(fields.number).toBe(536870911)
      const read = fields.whole()
      expect(BigInt(read)).toBe(BigInt(value))
      expect(typeof read).toBe(Number.isSafeInteger(Number(value)) ? 'number' : 'bigint')
      expect(fields.next()).toBe(false)
    }),
  )
})
test('packed and single numbers are read alike', () => {
  const packed = Uint8Array.of(0x0a, 4, 0x96, 0x01, 0x00, 0x05)
  const apart = Uint8Array.of(0x08, 0x96, 0x01, 0x08, 0, 0x08, 5)
  for (const bytes of [packed, apart]) {
    const found: Whole[] = []
    const fields = fieldsOf(bytes)
    while (fields.next()) fields.eachWhole((value) => found.push(value))
    expect(found).toEqual([150, 0, 5])
  }
})
test('a message keeps the order of its fields, and parts that are not at hand keep their place', () => {
  const parts = writer()
    .text(1, 'a')
    .message(2, [{ name: 'w', bytes: 300 }])
    .append([{ start: 5, end: 9 }])
    .float(3, 0.5).parts
  expect(parts.map(partLength)).toEqual([6, 300, 4, 5])
  expect(parts[0]).toEqual(Uint8Array.of(0x0a, 1, 0x61, 0x12, 0xac, 0x02))
  expect(partsLength(parts)).toBe(315)
})
test('a field of gigabytes is stepped over without being read', () => {
  const head = Uint8Array.of(0x4a, ...[0x80, 0x80, 0x80, 0x80, 0x08])
  const tail = Uint8Array.of(0x10, 7)
  const size = head.length + 2 ** 31 + tail.length
  let asked = 0
  const source = {
    name: 'x',
    size,
    read(offset: number, length: number) {
      asked += length
      const bytes = new Uint8Array(length)
      for (let i = 0; i < length; i++)
        bytes[i] = head[offset + i] ?? tail[offset + i - head.length - 2 ** 31] ?? 0
      return bytes
    },
    close() {},
  }
  const fields = new ProtobufFile(source).message({ start: 0, end: size })
  expect(fields.next()).toBe(true)
  expect(fields.value()).toEqual({ start: 6, end: 6 + 2 ** 31 })
  expect(fields.next()).toBe(true)
  expect(fields.whole()).toBe(7)
  expect(asked).toBeLessThan(10_000)
})
describe('refused', () => {
  test.each([
    ['a group', [0x0b, 0x0c], /wire type 3/],
    ['the end of a group', [0x0c], /wire type 4/],
    ['wire type 7', [0x0f], /wire type 7/],
    ['field 0', [0x00, 0], /number 0/],
    ['a length beyond the message', [0x0a, 5, 1], /5 bytes where 1/],
    ['a length of 2^64 - 1', [0x0a, ...new Array(9).fill(0xff), 1], /are left/],
    ['a number of 11 bytes', [0x08, ...new Array(10).fill(0x80), 0], /64 bits/],
    ['a number of 65 bits', [0x08, ...new Array(9).fill(0xff), 2], /64 bits/],
    ['a number without end', [0x08, 0x80], /ends within/],
    ['8 bytes of which 3 are there', [0x09, 1, 2, 3], /8 bytes where 3/],
    ['4 bytes of which 1 is there', [0x0d, 1], /4 bytes where 1/],
  ])('%s', (_, bytes, message) => {
    expect(() => walk(Uint8Array.from(bytes))).toThrow(FormatError)
    expect(() => walk(Uint8Array.from(bytes))).toThrow(message)
  })
  test('content of another wire type, text that is no UTF-8, floats in 5 bytes', () => {
    const first = (bytes: number[]) => {
      const fields = fieldsOf(Uint8Array.from(bytes))
      fields.next()
      return fields
    }
    expect(() => first([0x08, 1]).text()).toThrow(/wire type 0 where 2/)
    expect(() => first([0x0a, 0]).whole()).toThrow(/wire type 2 where 0/)
    expect(() => first([0x0a, 1, 0xff]).text()).toThrow(/UTF-8/)
    expect(() => first([0x0a, 5, 0, 0, 0, 0, 0]).eachFloat(() => {})).toThrow(/5 bytes/)
    expect(() => first([0x08, ...new Array(9).fill(0xff), 1]).natural('a size')).toThrow(/-1 for a size/)
  })
  test('any bytes end in fields or in a FormatError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          walk(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(FormatError)
        }
      }),
      { numRuns: 2000 },
    )
  })
})
