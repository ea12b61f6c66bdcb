import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bytesOf, open } from './header_bytes.suite.ts'
import type { GgufValue } from './metadata.ts'

const finite = fc.float({ noNaN: true })
const scalar: fc.Arbitrary<GgufValue> = fc.oneof(
  fc.record({ type: fc.constant('u8' as const), value: fc.integer({ min: 0, max: 255 }) }),
  fc.record({ type: fc.constant('i8' as const), value: fc.integer({ min: -128, max: 127 }) }),
  fc.record({ type: fc.constant('u16' as const), value: fc.integer({ min: 0, max: 65535 }) }),
  fc.record({ type: fc.constant('i16' as const), value: fc.integer({ min: -32768, max: 32767 }) }),
  fc.record({ type: fc.constant('u32' as const), value: fc.integer({ min: 0, max: 2 ** 32 - 1 }) }),
  fc.record({ type: fc.constant('i32' as const), value: fc.integer() }),
  fc.record({ type: fc.constant('f32' as const), value: finite }),
  fc.record({ type: fc.constant('f64' as const), value: fc.double({ noNaN: true }) }),
  fc.record({ type: fc.constant('bool' as const), value: fc.boolean() }),
  fc.record({ type: fc.constant('string' as const), value: fc.string({ unit: 'grapheme' }) }),
  fc.record({ type: fc.constant('u64' as const), value: fc.maxSafeNat() }),
  fc.record({ type: fc.constant('u64' as const), value: fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }) }),
  fc.record({
    type: fc.constant('i64' as const),
    value: fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
  }),
)
const array: fc.Arbitrary<GgufValue> = fc.oneof(
  fc.uint8Array().map((value) => ({ type: 'array' as const, element: 'u8' as const, value })),
  fc.int8Array().map((value) => ({ type: 'array' as const, element: 'i8' as const, value })),
  fc.uint16Array().map((value) => ({ type: 'array' as const, element: 'u16' as const, value })),
  fc.int16Array().map((value) => ({ type: 'array' as const, element: 'i16' as const, value })),
  fc.uint32Array().map((value) => ({ type: 'array' as const, element: 'u32' as const, value })),
  fc.int32Array().map((value) => ({ type: 'array' as const, element: 'i32' as const, value })),
  fc
    .float32Array({ noNaN: true })
    .map((value) => ({ type: 'array' as const, element: 'f32' as const, value })),
  fc
    .float64Array({ noNaN: true })
    .map((value) => ({ type: 'array' as const, element: 'f64' as const, value })),
  fc.bigUint64Array().map((value) => ({ type: 'array' as const, element: 'u64' as const, value })),
  fc.bigInt64Array().map((value) => ({ type: 'array' as const, element: 'i64' as const, value })),
  fc.array(fc.boolean()).map((value) => ({ type: 'array' as const, element: 'bool' as const, value })),
  fc
    .array(fc.string({ unit: 'grapheme' }))
    .map((value) => ({ type: 'array' as const, element: 'string' as const, value })),
)
const key = fc.stringMatching(/^[a-z][a-z0-9_]{0,9}(\.[a-z0-9_]{1,9}){0,3}$/)

test('metadata of every type comes back with its type, and is written again with the same bytes', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.oneof(scalar, array)), { maxLength: 8 }), (pairs) => {
      const metadata = new Map(pairs)
      metadata.delete('general.alignment')
      const bytes = bytesOf(metadata)
      const archive = open(bytes)
      expect([...archive.metadata]).toEqual([...metadata])
      expect(bytesOf(new Map(archive.metadata))).toEqual(bytes)
    }),
    { numRuns: 200 },
  )
})
