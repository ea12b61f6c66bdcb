import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FormatError, OptionError } from '../tensor/errors.ts'
import {
  dequantizeGptq,
  type GptqBits,
  isOrdered,
  loadedZeros,
  orderedGroups,
  packAcross,
  packDown,
  storedZeros,
  unpackAcross,
  unpackDown,
  zeroFormat,
} from './gptq_packing.ts'

const allBits = [2, 3, 4, 8] as const
const hex = (words: Int32Array) => [...words].map((w) => (w >>> 0).toString(16))

test('4-bit codes 0 to 7 of a column are the word 0x76543210', () => {
  expect(hex(packDown(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7), 8, 1, 4))).toEqual(['76543210'])
  expect(hex(packAcross(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7), 1, 8, 4))).toEqual(['76543210'])
  const reversed = Uint8Array.of(7, 6, 5, 4, 3, 2, 1, 0)
  expect(hex(packDown(reversed, 8, 1, 4))).not.toEqual(['76543210'])
  // Two columns of four rows are no column of eight.
  expect(
    hex(
      packDown(
        Uint8Array.from({ length: 16 }, (_, i) => i % 8),
        8,
        2,
        4,
      ),
    )[0],
  ).not.toBe('76543210')
})
test('3-bit codes i mod 8 are one stream over three words', () => {
  const codes = Uint8Array.from({ length: 32 }, (_, i) => i % 8)
  expect(hex(packDown(codes, 32, 1, 3))).toEqual(['88fac688', 'c688fac6', 'fac688fa'])
})
test('3-bit words equal the 96-bit number of the definition', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(7), { minLength: 32, maxLength: 32 }), (codes) => {
      const number = codes.reduce((sum, code, i) => sum + (BigInt(code) << BigInt(3 * i)), 0n)
      const expected = [0n, 32n, 64n].map((shift) => Number((number >> shift) & 0xffffffffn).toString(16))
      expect(hex(packDown(Uint8Array.from(codes), 32, 1, 3))).toEqual(expected)
    }),
  )
})
describe.each(allBits)('%i bits', (bits) => {
  const matrix = fc
    .tuple(
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 5 }),
      fc.infiniteStream(fc.nat(2 ** bits - 1)),
    )
    .map(([blocks, width, stream]) => {
      const [length, count] = [32 * blocks, width]
      return {
        length,
        count,
        codes: Uint8Array.from({ length: length * count }, () => stream.next().value as number),
      }
    })
  test('codes come back, packed down or across', () => {
    fc.assert(
      fc.property(matrix, ({ length, count, codes }) => {
        const down = packDown(codes, length, count, bits)
        expect(down).toHaveLength((length * count * bits) / 32)
        expect(unpackDown(down, length, count, bits)).toEqual(codes)
        expect(unpackDown(new Uint32Array(down.buffer), length, count, bits)).toEqual(codes)
        expect(unpackAcross(packAcross(codes, count, length, bits), count, length, bits)).toEqual(codes)
      }),
      { numRuns: 50 },
    )
  })
  test('packing across is packing down of the transposed codes', () => {
    fc.assert(
      fc.property(matrix, ({ length, count, codes }) => {
        const turned = Uint8Array.from(codes, (_, i) => codes[(i % length) * count + Math.floor(i / length)]!)
        const across = packAcross(turned, count, length, bits)
        const down = packDown(codes, length, count, bits)
        const words = (length * bits) / 32
        expect([...across]).toEqual(
          Array.from(across, (_, i) => down[(i % words) * count + Math.floor(i / words)]),
        )
      }),
      { numRuns: 50 },
    )
  })
  test('a zero of 0 wraps inside its field and leaves its neighbours alone', () => {
    const zeros = Uint8Array.from({ length: 32 }, (_, i) => (i % 3 === 0 ? 0 : 1 + (i % (2 ** bits - 1))))
    for (const format of ['gptq', 'gptq_v2'] as const) {
      const words = packAcross(storedZeros(zeros, bits, format), 1, 32, bits)
      expect(loadedZeros(unpackAcross(words, 1, 32, bits), bits, format)).toEqual(zeros)
    }
  })
  test('version 1 and version 2 of a layer give equal weights', () => {
    const [inputs, outputs, groups] = [64, 32, 2]
    const codes = Uint8Array.from({ length: inputs * outputs }, (_, i) => (5 * i + (i >> 4)) % 2 ** bits)
    const zeros = Uint8Array.from({ length: groups * outputs }, (_, i) => (3 * i) % 2 ** bits)
    const scales = Float32Array.from({ length: groups * outputs }, (_, i) => (1 + i) / 64)
    const weights = (['gptq', 'gptq_v2'] as const).map((format) =>
      dequantizeGptq({
        bits,
        inputs,
        outputs,
        format,
        scales,
        qweight: packDown(codes, inputs, outputs, bits),
        qzeros: packAcross(storedZeros(zeros, bits, format), groups, outputs, bits),
      }),
    )
    expect(weights[0]).toEqual(weights[1])
    const at = (o: number, i: number) => {
      const g = i < 32 ? 0 : 1
      return scales[g * outputs + o]! * (codes[i * outputs + o]! - zeros[g * outputs + o]!)
    }
    expect([weights[0]![0], weights[0]![5 * inputs + 40]]).toEqual([at(0, 0), at(5, 40)])
  })
})
test.each<[GptqBits, string, string]>([
  [2, '55555555', 'aaaaaaaa'],
  [4, '77777777', '88888888'],
  [8, '7f7f7f7f', '80808080'],
])('symmetric zeros of %i bits are 0x%s in version 1 and 0x%s in version 2', (bits, v1, v2) => {
  const zeros = new Uint8Array(32 / bits).fill(2 ** (bits - 1))
  expect(hex(packAcross(storedZeros(zeros, bits, 'gptq'), 1, zeros.length, bits))).toEqual([v1])
  expect(hex(packAcross(storedZeros(zeros, bits, 'gptq_v2'), 1, zeros.length, bits))).toEqual([v2])
})
test('symmetric zeros of version 2 are found under the label of version 1, and only then', () => {
  expect(zeroFormat(Uint8Array.of(8, 8), 4, true, 'gptq')).toBe('gptq_v2')
  expect(zeroFormat(Uint8Array.of(7, 7), 4, true, 'gptq')).toBe('gptq')
  expect(zeroFormat(Uint8Array.of(8, 7), 4, true, 'gptq')).toBe('gptq')
  expect(zeroFormat(Uint8Array.of(8, 8), 4, false, 'gptq')).toBe('gptq')
  expect(zeroFormat(Uint8Array.of(7, 7), 4, true, 'gptq_v2')).toBe('gptq_v2')
  expect(zeroFormat(new Uint8Array(0), 4, true, 'gptq')).toBe('gptq')
})
test('an act-order layer equals the one whose groups were unpermuted by hand; ignoring g_idx does not', () => {
  const [inputs, outputs, bits] = [32, 8, 4] as const
  const groupOf = Int32Array.from({ length: inputs }, (_, i) => (7 * i) % 4)
  const codes = Uint8Array.from({ length: inputs * outputs }, (_, i) => (11 * i + 3) % 16)
  const zeros = Uint8Array.from({ length: 4 * outputs }, (_, i) => 1 + (i % 15))
  const scales = Float32Array.from({ length: 4 * outputs }, (_, i) => 2 ** (i % 5))
  const layer = {
    bits,
    inputs,
    outputs,
    scales,
    format: 'gptq' as const,
    qweight: packDown(codes, inputs, outputs, bits),
    qzeros: packAcross(storedZeros(zeros, bits, 'gptq'), 4, outputs, bits),
  }
  const expected = new Float32Array(outputs * inputs)
  for (let o = 0; o < outputs; o++)
    for (let i = 0; i < inputs; i++) {
      const g = groupOf[i]! * outputs + o
      expected[o * inputs + i] = scales[g]! * (codes[i * outputs + o]! - zeros[g]!)
    }
  expect(dequantizeGptq({ ...layer, groupOf })).toEqual(expected)
  expect(dequantizeGptq(layer)).not.toEqual(expected)
  expect(isOrdered(groupOf, 8)).toBe(false)
  expect(isOrdered(orderedGroups(inputs, 8), 8)).toBe(true)
  expect(orderedGroups(4)).toEqual(new Int32Array(4))
})
test('codes of the dequantised weights on the stored scales are the codes again, and pack to the same words', () => {
  const layers = fc.record({
    bits: fc.constantFrom(...allBits),
    groups: fc.integer({ min: 1, max: 3 }),
    format: fc.constantFrom('gptq' as const, 'gptq_v2' as const),
  })
  fc.assert(
    fc.property(layers, fc.infiniteStream(fc.nat(65535)), ({ bits, groups, format }, stream) => {
      const [inputs, outputs, levels] = [32 * groups, 32, 2 ** bits]
      const draw = (length: number) => Array.from({ length }, () => stream.next().value as number)
      const codes = Uint8Array.from(draw(inputs * outputs), (n) => n % levels)
      const zeros = Uint8Array.from(draw(groups * outputs), (n) => 1 + (n % (levels - 1)))
      // Of 11 bits, as halves are, and none of them even.
      const scales = Float32Array.from(draw(groups * outputs), (n) => (1025 + 2 * (n % 512)) / 2 ** 16)
      const qweight = packDown(codes, inputs, outputs, bits)
      const qzeros = packAcross(storedZeros(zeros, bits, format), groups, outputs, bits)
      const groupOf = orderedGroups(inputs, 32)
      const weights = dequantizeGptq({ bits, inputs, outputs, scales, format, qweight, qzeros, groupOf })
      const again = codes.map((_, at) => {
        const [i, o] = [Math.floor(at / outputs), at % outputs]
        const group = groupOf[i]! * outputs + o
        const level = Math.round(weights[o * inputs + i]! / scales[group]!) + zeros[group]!
        return Math.min(levels - 1, Math.max(0, level))
      })
      expect(again).toEqual(codes)
      expect(packDown(again, inputs, outputs, bits)).toEqual(qweight)
    }),
    { numRuns: 30 },
  )
})
test('sizes that do not fill words, codes that are too large and wrong groups are refused', () => {
  expect(() => packDown(new Uint8Array(33), 33, 1, 3)).toThrow(OptionError)
  expect(() => packDown(new Uint8Array(4), 4, 1, 4)).toThrow(OptionError)
  expect(() => packDown(new Uint8Array(8).fill(16), 8, 1, 4)).toThrow(/at most 15, got 16/)
  expect(() => packDown(new Uint8Array(7), 8, 1, 4)).toThrow(OptionError)
  expect(() => unpackDown(new Int32Array(2), 8, 1, 4)).toThrow(FormatError)
  const layer = {
    bits: 4 as const,
    inputs: 8,
    outputs: 8,
    format: 'gptq' as const,
    qweight: new Int32Array(8),
    qzeros: new Int32Array(1),
    scales: new Float32Array(8),
  }
  expect(dequantizeGptq(layer)).toHaveLength(64)
  expect(() => dequantizeGptq({ ...layer, groupOf: new Int32Array(8).fill(1) })).toThrow(
    /from 0 to 0, found 1/,
  )
  expect(() => dequantizeGptq({ ...layer, groupOf: new Int32Array(7) })).toThrow(/7 entries/)
  expect(() => dequantizeGptq({ ...layer, scales: new Float32Array(7) })).toThrow(FormatError)
})
