import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FormatError, OptionError } from '../tensor/errors.ts'
import { type AqlmShape, aqlmCodes, aqlmIndices, aqlmLayout, aqlmType } from './aqlm_codes.ts'

const layer: AqlmShape = { outputGroups: 2, inputGroups: 3, codebooks: 2, bits: 8 }
const refused = expect.objectContaining({ code: 'PARE_E_AQLM' })

test('an index from 2^(B-1) on is stored less 2^B', () => {
  const one = (bits: number): AqlmShape => ({ outputGroups: 1, inputGroups: 4, codebooks: 1, bits })
  expect(aqlmCodes(Uint16Array.of(0, 127, 128, 255), one(8))).toEqual(Int8Array.of(0, 127, -128, -1))
  expect(aqlmCodes(Uint16Array.of(0, 32767, 32768, 65535), one(16))).toEqual(
    Int16Array.of(0, 32767, -32768, -1),
  )
  expect(aqlmCodes(Uint16Array.of(0, 16383, 16384, 32767), one(15))).toEqual(
    Int16Array.of(0, 16383, -16384, -1),
  )
  // Stored without the sign, 15 bits fit too; modulo 2^15 they are the same.
  expect([...aqlmIndices(Int16Array.of(0, 16384, 32767, -1), [1, 4, 1], one(15))]).toEqual([
    0, 16384, 32767, 32767,
  ])
})
test('codes up to 8 bits are int8, above int16', () => {
  expect([1, 8, 9, 15, 16].map(aqlmType)).toEqual(['I8', 'I8', 'I16', 'I16', 'I16'])
  for (const bits of [0, 17, 2.5]) expect(() => aqlmType(bits)).toThrow(OptionError)
})
test('turned codes of the CPU path give the same indices as plain ones', () => {
  const indices = Uint16Array.from({ length: 12 }, (_, i) => 250 - 20 * i)
  const plain = aqlmCodes(indices, layer)
  // [in/ig, out/og, M] by hand: pairs of o = 0 and o = 1 in turn.
  const turned = Int8Array.from([0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11], (at) => plain[at]!)
  expect(aqlmIndices(plain, [2, 3, 2], layer)).toEqual(indices)
  expect(aqlmIndices(turned, [3, 2, 2], layer)).toEqual(indices)
  expect(aqlmIndices(turned, [2, 3, 2], layer)).not.toEqual(indices)
})
test('where both layouts have one shape, the codes count as plain', () => {
  expect(aqlmLayout([3, 2, 2], layer)).toBe('turned')
  expect(aqlmLayout([3, 3, 2], { ...layer, outputGroups: 3 })).toBe('plain')
})
test('indices of any number of bits, codebooks and groups come back, also turned', () => {
  const layers = fc.record({
    outputGroups: fc.integer({ min: 0, max: 6 }),
    inputGroups: fc.integer({ min: 0, max: 6 }),
    codebooks: fc.integer({ min: 1, max: 3 }),
    bits: fc.integer({ min: 1, max: 16 }),
  })
  fc.assert(
    fc.property(layers, fc.infiniteStream(fc.nat(65535)), (of, stream) => {
      const { outputGroups, inputGroups, codebooks, bits } = of
      const length = outputGroups * inputGroups * codebooks
      const indices = Uint16Array.from({ length }, () => (stream.next().value as number) % 2 ** bits)
      const stored = aqlmCodes(indices, of)
      for (const [at, value] of stored.entries()) {
        expect(value).toBeGreaterThanOrEqual(-(2 ** (bits - 1)))
        expect(value).toBeLessThan(2 ** (bits - 1))
        expect((value + 2 ** bits) % 2 ** bits).toBe(indices[at])
      }
      expect(aqlmIndices(stored, [outputGroups, inputGroups, codebooks], of)).toEqual(indices)
      if (outputGroups === inputGroups) return
      const turned = stored.slice()
      for (let o = 0; o < outputGroups; o++)
        for (let i = 0; i < inputGroups; i++)
          for (let m = 0; m < codebooks; m++)
            turned[(i * outputGroups + o) * codebooks + m] = stored[(o * inputGroups + i) * codebooks + m]!
      expect(aqlmIndices(turned, [inputGroups, outputGroups, codebooks], of)).toEqual(indices)
    }),
  )
})
test('types, shapes, lengths and indices that do not fit are refused', () => {
  for (const wrong of [
    () => aqlmIndices(new Int16Array(12), [2, 3, 2], layer),
    () => aqlmIndices(new Int8Array(12), [2, 3, 2], { ...layer, bits: 9 }),
    () => aqlmIndices(new Int8Array(12), [2, 2, 3], layer),
    () => aqlmIndices(new Int8Array(12), [2, 3], layer),
    () => aqlmIndices(new Int8Array(11), [2, 3, 2], layer),
    () => aqlmIndices(new Int8Array(12), [-2, -3, 2], { ...layer, outputGroups: -2, inputGroups: -3 }),
  ]) {
    expect(wrong).toThrow(FormatError)
    expect(wrong).toThrow(refused)
  }
  for (const wrong of [
    () => aqlmCodes(new Uint16Array(12).fill(256), layer),
    () => aqlmCodes(new Uint16Array(11), layer),
    () => aqlmCodes(new Uint16Array(12), { ...layer, bits: 17 }),
  ]) {
    expect(wrong).toThrow(OptionError)
    expect(wrong).toThrow(refused)
  }
})
