import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type CodedTypeName, typeOfName } from '../../nn/block_types.ts'
import { OptionError } from '../../tensor/errors.ts'
import { decodeBlocks, packBlock, unpackBlock, valuesOf } from './blocks.ts'

/** Positions of the f16 fields, which the golden block sets to 1. */
const halves: Record<CodedTypeName, number[]> = {
  Q8_0: [0],
  Q4_0: [0],
  IQ4_NL: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q2_K: [80, 82],
  Q3_K: [108],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
}
const codedTypes = Object.keys(halves) as CodedTypeName[]

/** Byte k is 73k + 41, and every f16 field is 1. */
function goldenBlock(type: CodedTypeName): Uint8Array {
  const bytes = Uint8Array.from({ length: typeOfName(type)!.blockBytes }, (_, k) => 73 * k + 41)
  for (const at of halves[type]) bytes.set([0x00, 0x3c], at)
  return bytes
}

test.each<[CodedTypeName, number, number, number, number, number]>([
  ['Q8_0', -48, -640, -69, -108, -110],
  ['Q4_0', -33, -766, 3, -8, -8],
  ['IQ4_NL', -481, -11595, 38, -127, -127],
  ['Q4_1', 257, 3737, 14, 10, 10],
  ['Q5_0', -45, -1140, 15, -14, 2],
  ['Q5_1', 533, 8043, 18, 28, 12],
  ['Q2_K', 1235, 141639, 7, -3, -7],
  ['Q3_K', 234, 34512, -7, -4, -24],
  ['Q4_K', 49880, 6956024, 68, -23, -23],
  ['Q5_K', 106600, 14434440, 276, -23, -23],
  ['Q6_K', -14844, -1613284, 161, 100, 288],
])('%s decodes the golden block as the reference does', (type, sum, weighted, first, x17, last) => {
  const x = decodeBlocks(type, goldenBlock(type))
  expect(x.reduce((a, b) => a + b, 0)).toBe(sum)
  expect(x.reduce((a, b, i) => a + i * b, 0)).toBe(weighted)
  expect([x[0], x[17], x.at(-1)]).toEqual([first, x17, last])
})
test.each(codedTypes)(
  '%s: bytes in the other order, or with their nibbles swapped, decode to other values',
  (type) => {
    const block = goldenBlock(type)
    const swapped = block.map((byte) => (byte >> 4) | ((byte & 15) << 4))
    const reversed = block.toReversed()
    for (const changed of [swapped, reversed]) {
      for (const at of halves[type]) changed.set([0x00, 0x3c], at)
      expect([...decodeBlocks(type, changed)]).not.toEqual([...decodeBlocks(type, block)])
    }
  },
)
test.each(codedTypes)('%s: a block taken apart and put together has the same bytes', (type) => {
  const length = typeOfName(type)!.blockBytes
  fc.assert(
    fc.property(fc.uint8Array({ minLength: length, maxLength: length }), (bytes) => {
      // Any f16 that is no NaN: its sign and payload would not survive in a JavaScript number.
      for (const at of halves[type]) if ((bytes[at + 1]! & 0x7c) === 0x7c) bytes[at + 1]! &= 0xbf
      expect(packBlock(type, unpackBlock(type, bytes))).toEqual(bytes)
    }),
  )
})
test.each(codedTypes)('%s: every bit of a block belongs to exactly one field', (type) => {
  const zero = new Uint8Array(typeOfName(type)!.blockBytes)
  const parts = (bytes: Uint8Array) => JSON.stringify(unpackBlock(type, bytes))
  const seen = new Set([parts(zero)])
  for (let bit = 0; bit < 8 * zero.length; bit++) {
    const bytes = zero.slice()
    bytes[bit >> 3] = 1 << (bit & 7)
    seen.add(parts(bytes))
  }
  // The sign bit of an f16 zero does not show in JSON.
  expect(seen.size).toBe(8 * zero.length + 1 - halves[type].length)
})
test('floats decode from their bytes, subnormal halves too', () => {
  expect([...decodeBlocks('F32', new Uint8Array(new Float32Array([1.5, -2]).buffer))]).toEqual([1.5, -2])
  expect([...decodeBlocks('F16', Uint8Array.of(0x00, 0x3c, 0x01, 0x00, 0x00, 0xfc))]).toEqual([
    1,
    2 ** -24,
    Number.NEGATIVE_INFINITY,
  ])
  expect([...decodeBlocks('BF16', Uint8Array.of(0x80, 0x3f, 0xc0, 0xbf))]).toEqual([1, -1.5])
})
test('a subnormal d scales a block', () => {
  const parts = { ...unpackBlock('Q6_K', goldenBlock('Q6_K')), d: 3 * 2 ** -24 }
  const scaled = decodeBlocks('Q6_K', packBlock('Q6_K', parts))
  const plain = decodeBlocks('Q6_K', goldenBlock('Q6_K'))
  expect([...scaled]).toEqual([...plain].map((x) => x * 3 * 2 ** -24))
  expect(valuesOf('Q6_K', parts)).toEqual(scaled)
})
test('a type that Pare carries but does not decode is named, half a block is refused', () => {
  expect(() => decodeBlocks('IQ2_XXS', new Uint8Array(66))).toThrow(/IQ2_XXS are not decoded/)
  expect(() => decodeBlocks('Q8_0', new Uint8Array(33))).toThrow(OptionError)
})
