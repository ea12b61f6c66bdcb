import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FormatError, OptionError } from '../tensor/errors.ts'
import {
  type PackedMatrix,
  packCodes,
  packedLength,
  packingOf,
  packingOfVersion,
  signedCodes,
  storedCodes,
  unpackCodes,
} from './compressed_tensors_packing.ts'

const hex = (words: Int32Array) => [...words].map((word) => (word >>> 0).toString(16).padStart(8, '0'))
const upTo = (length: number, levels: number) => Uint8Array.from({ length }, (_, i) => i % levels)
const row = (columns: number, bits: number, packing: 'words' | 'stream'): PackedMatrix => ({
  rows: 1,
  columns,
  bits,
  packing,
  axis: 1,
})

/** The words of one run, code by code: code i at bit b*i of a stream, or in its word. */
function runOf(codes: readonly number[], { bits, packing }: PackedMatrix): number[] {
  const perWord = Math.floor(32 / bits)
  const number = codes.reduce((sum, u, i) => {
    const at = packing === 'stream' ? bits * i : 32 * Math.floor(i / perWord) + bits * (i % perWord)
    return sum | (BigInt(u) << BigInt(at))
  }, 0n)
  return Array.from({ length: packedLength(codes.length, bits, packing) }, (_, w) =>
    Number(BigInt.asIntN(32, number >> BigInt(32 * w))),
  )
}

test.each(['words', 'stream'] as const)(
  '4-bit codes q = -8 to -1 are the word 0x76543210 as %s',
  (packing) => {
    const stored = storedCodes(Int8Array.of(-8, -7, -6, -5, -4, -3, -2, -1), 4)
    expect(hex(packCodes(stored, row(8, 4, packing)))).toEqual(['76543210'])
    expect(hex(packCodes(stored.toReversed(), row(8, 4, packing)))).not.toEqual(['76543210'])
  },
)
test('3-bit codes u = i mod 8 begin with 0x08fac688 as words, and are one stream from 0.18 on', () => {
  expect(hex(packCodes(upTo(32, 8), row(32, 3, 'words')))[0]).toBe('08fac688')
  expect(packedLength(32, 3, 'words')).toBe(4)
  expect(hex(packCodes(upTo(32, 8), row(32, 3, 'stream')))).toEqual(['88fac688', 'c688fac6', 'fac688fa'])
})
test('zero points are packed along the outputs: symmetric ones of 4 bits are 0x88888888', () => {
  const zeros = storedCodes(new Int8Array(16), 4)
  const matrix = { rows: 8, columns: 2, bits: 4, packing: 'stream', axis: 0 } as const
  expect(hex(packCodes(zeros, matrix))).toEqual(['88888888', '88888888'])
  const marked = Uint8Array.from(zeros, (z, i) => (i === 3 ? 15 : z))
  // Output 1 of group 1: the second nibble of the second word.
  expect(hex(packCodes(marked, matrix))).toEqual(['88888888', '888888f8'])
})
test('signed and stored codes are 2^(b-1) apart, and one outside its bits is refused', () => {
  expect([...storedCodes(Int8Array.of(-2, -1, 0, 1), 2)]).toEqual([0, 1, 2, 3])
  expect([...storedCodes(Int8Array.of(-128, 127), 8)]).toEqual([0, 255])
  expect([...signedCodes(Uint8Array.of(0, 255), 8)]).toEqual([-128, 127])
  expect([...signedCodes(Uint8Array.of(0, 1), 1)]).toEqual([-1, 0])
  expect(() => storedCodes(Int8Array.of(8), 4)).toThrow(/from -8 to 7, found 8/)
  expect(() => storedCodes(Int8Array.of(-9), 4)).toThrow(FormatError)
})

describe.each([1, 2, 3, 4, 5, 6, 7, 8])('%i bits', (bits) => {
  const matrices = fc
    .tuple(
      fc.integer({ min: 1, max: 70 }),
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom('words' as const, 'stream' as const),
      fc.constantFrom(0 as const, 1 as const),
      fc.infiniteStream(fc.nat(2 ** bits - 1)),
    )
    .map(([length, count, packing, axis, stream]) => {
      const [rows, columns] = axis ? [count, length] : [length, count]
      const codes = Uint8Array.from({ length: rows * columns }, () => stream.next().value as number)
      return { matrix: { rows, columns, bits, packing, axis } satisfies PackedMatrix, codes, length, count }
    })
  test('each run is packed as its definition says, and comes back', () => {
    fc.assert(
      fc.property(matrices, ({ matrix, codes, length, count }) => {
        const words = packCodes(codes, matrix)
        const { axis } = matrix
        const width = packedLength(length, bits, matrix.packing)
        expect(words).toHaveLength(width * count)
        for (let run = 0; run < count; run++) {
          const of = (array: ArrayLike<number>, size: number) =>
            Array.from({ length: size }, (_, i) => array[axis ? run * size + i : i * count + run]!)
          expect(of(words, width)).toEqual(runOf(of(codes, length), matrix))
        }
        expect(unpackCodes(words, matrix)).toEqual(codes)
        expect(unpackCodes(new Uint32Array(words.buffer), matrix)).toEqual(codes)
      }),
      { numRuns: 60 },
    )
  })
  test('weights on their own scales and zeros have the same codes and words again', () => {
    fc.assert(
      fc.property(
        matrices.filter(({ matrix }) => matrix.axis === 1),
        fc.integer({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 }),
        fc.integer({ min: 1025, max: 2047 }),
        ({ matrix, codes }, zero, mantissa) => {
          const scale = mantissa / 2 ** 16
          const words = packCodes(codes, matrix)
          // W = (q - zp) * scale, and q = round(clamp(W / scale + zp)), as the library has them, in f32.
          const weights = Float32Array.from(
            signedCodes(unpackCodes(words, matrix), bits),
            (q) => (q - zero) * scale,
          )
          const [low, high] = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
          const again = Int8Array.from(weights, (w) =>
            Math.round(Math.min(high, Math.max(low, Math.fround(w / scale) + zero))),
          )
          expect(packCodes(storedCodes(again, bits), matrix)).toEqual(words)
        },
      ),
      { numRuns: 30 },
    )
  })
  test('the width tells the packing, or both are possible, and then only if the words differ', () => {
    for (let length = 0; length <= 200; length++) {
      const codes = new Uint8Array(length).fill(2 ** bits - 1)
      const [words, stream] = (['words', 'stream'] as const).map((packing) =>
        hex(packCodes(codes, row(length, bits, packing))),
      )
      const alike = words!.join() === stream!.join()
      const equallyLong = words!.length === stream!.length
      const found = packingOf(length, bits, stream!.length)
      expect(found).toBe(!alike && equallyLong ? 'either' : 'stream')
      if (!equallyLong) expect(packingOf(length, bits, words!.length)).toBe('words')
      expect(() => packingOf(length, bits, Math.max(words!.length, stream!.length) + 1)).toThrow(FormatError)
    }
  })
})
test.each([
  [3, 150],
  [5, 90],
  [6, 75],
  [7, 28],
])('runs of %i bits are in doubt up to %i codes, and never above', (bits, most) => {
  const inDoubt = Array.from({ length: 5000 }, (_, length) => length).filter(
    (length) => packingOf(length, bits, packedLength(length, bits, 'stream')) === 'either',
  )
  expect(inDoubt.at(-1)).toBe(most)
})
test('the version of the library decides at 0.18', () => {
  expect(['0.8.1', '0.10.2', '0.17.1.a20260101'].map(packingOfVersion)).toEqual(['words', 'words', 'words'])
  expect(['0.18.0', '0.100', '1.0.0', '10.2.0'].map(packingOfVersion)).toEqual(Array(4).fill('stream'))
  for (const wrong of ['', 'new', '0', '-1.2', '99999999999999999.1'])
    expect(() => packingOfVersion(wrong)).toThrow(
      expect.objectContaining({ code: 'PARE_E_COMPRESSED_TENSORS' }),
    )
})
test('an empty matrix has no words', () => {
  for (const packing of ['words', 'stream'] as const) {
    expect(packCodes(new Uint8Array(0), row(0, 3, packing))).toHaveLength(0)
    expect(unpackCodes(new Int32Array(0), { rows: 0, columns: 9, bits: 3, packing, axis: 1 })).toHaveLength(0)
  }
})
test('bits, codes, words and shapes that do not fit are refused', () => {
  const refused = expect.objectContaining({ code: 'PARE_E_COMPRESSED_TENSORS' })
  for (const wrong of [
    () => packCodes(new Uint8Array(8), row(8, 9, 'words')),
    () => packCodes(new Uint8Array(8), row(8, 0, 'stream')),
    () => packCodes(new Uint8Array(8).fill(8), row(8, 3, 'words')),
    () => packCodes(new Uint8Array(7), row(8, 3, 'stream')),
    () => packingOf(8, 2.5, 1),
  ]) {
    expect(wrong).toThrow(OptionError)
    expect(wrong).toThrow(refused)
  }
  for (const wrong of [
    () => unpackCodes(new Int32Array(3), row(32, 3, 'words')),
    () => unpackCodes(new Int32Array(4), row(32, 3, 'stream')),
    () => unpackCodes(new Int32Array(1), { ...row(-8, 4, 'stream'), rows: -1 }),
  ]) {
    expect(wrong).toThrow(FormatError)
    expect(wrong).toThrow(refused)
  }
})
