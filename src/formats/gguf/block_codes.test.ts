import fc from 'fast-check'
import { expect, test } from 'vitest'
import { OptionError } from '../../tensor/errors.ts'
import { f16ToNumber } from '../half.ts'
import { blockCodes, blocksOfCodes, type EvenType, evenTypes } from './block_codes.ts'
import { unpackBlock } from './blocks.ts'

const types = Object.keys(evenTypes) as EvenType[]
/** Bytes of two blocks, all of whose bits vary. */
const someBlocks = (type: EvenType) =>
  Uint8Array.from({ length: 2 * evenTypes[type].bytes }, (_, k) => (73 * k + 41) % 256)

test.each(types)('%s comes apart as the plain reader takes it, and together to the same bytes', (type) => {
  const bytes = someBlocks(type)
  const { codes, scales, offsets } = blockCodes(type, bytes)
  for (const block of [0, 1]) {
    const size = evenTypes[type].bytes
    const parts = unpackBlock(type, bytes.subarray(block * size, (block + 1) * size))
    expect(codes.subarray(32 * block, 32 * block + 32)).toEqual(parts.codes)
    expect(f16ToNumber(scales[block]!)).toBe(parts.d)
    if (offsets) expect(f16ToNumber(offsets[block]!)).toBe(-parts.dmin)
    else expect(parts.dmin).toBe(0)
  }
  expect(blocksOfCodes(type, { codes, scales, ...(offsets && { offsets }) })).toEqual(bytes)
})
test('any bytes of whole blocks come back', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...types),
      fc.nat(3),
      fc.infiniteStream(fc.nat(255)),
      (type, blocks, stream) => {
        const bytes = Uint8Array.from({ length: blocks * evenTypes[type].bytes }, () => stream.next().value!)
        expect(blocksOfCodes(type, blockCodes(type, bytes))).toEqual(bytes)
      },
    ),
  )
})
test('bytes and codes that are no whole blocks are refused', () => {
  const { codes, scales } = blockCodes('Q4_0', someBlocks('Q4_0'))
  expect(() => blockCodes('Q4_0', new Uint8Array(19))).toThrow(OptionError)
  expect(() => blocksOfCodes('Q4_0', { codes: codes.subarray(1), scales })).toThrow(OptionError)
  expect(() => blocksOfCodes('Q4_0', { codes: codes.with(3, 16), scales })).toThrow(/4 bits/)
  expect(() => blocksOfCodes('Q4_1', { codes, scales })).toThrow(/offset/)
})
