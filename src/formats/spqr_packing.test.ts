import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FormatError, OptionError } from '../tensor/errors.ts'
import { packSpqr, type SpqrFields, unpackSpqr } from './spqr_packing.ts'

const refused = expect.objectContaining({ code: 'PARE_E_SPQR' })

function fieldsOf(outputs: number, inputs: number, next: () => number): SpqrFields {
  const [out, across] = [outputs / 16, inputs / 16]
  const small = (length: number) => Uint8Array.from({ length }, () => next() % 8)
  return {
    codes: small(outputs * inputs),
    scaleCodes: small(outputs * across),
    zeroCodes: small(outputs * across),
    secondOrder: Uint16Array.from({ length: out * across * 4 }, next),
  }
}
const matrices = fc
  .tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 }), fc.infiniteStream(fc.nat(65535)))
  .map(([down, across, stream]) => {
    const [outputs, inputs] = [16 * down, 16 * across]
    return { outputs, inputs, fields: fieldsOf(outputs, inputs, () => stream.next().value as number) }
  })

test('w_s = 1, w_z = 2, q_c = c mod 8 and the byte 0xab are the word 0x2afeb1a23eb1a211', () => {
  const fields: SpqrFields = {
    codes: Uint8Array.from({ length: 256 }, (_, i) => i % 8),
    scaleCodes: new Uint8Array(16).fill(1),
    zeroCodes: new Uint8Array(16).fill(2),
    secondOrder: new Uint16Array(4).fill(0xabab),
  }
  const words = packSpqr(fields, 16, 16)
  expect([...words]).toEqual(Array(16).fill(0x2afeb1a23eb1a211n))
  expect(unpackSpqr(words, 16, 16)).toEqual(fields)
  fields.codes.reverse()
  expect(packSpqr(fields, 16, 16)[0]).not.toBe(0x2afeb1a23eb1a211n)
})
test('byte f of ss, sz, zs, zz stands in the rows 2f and 2f+1 of its tile', () => {
  const fields = fieldsOf(16, 16, () => 0)
  fields.secondOrder.set([0x2211, 0x4433, 0x6655, 0x8877])
  const bytes = Array.from(packSpqr(fields, 16, 16), (word) => Number(word >> 54n))
  expect(bytes).toEqual([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88].flatMap((byte) => [byte, byte]))
})
test('every word is its fields times powers of two, in the order of tiles', () => {
  fc.assert(
    fc.property(matrices, ({ outputs, inputs, fields }) => {
      const across = inputs / 16
      const words = packSpqr(fields, outputs, inputs)
      const expected: bigint[] = []
      for (let tileRow = 0; tileRow < outputs / 16; tileRow++)
        for (let tileColumn = 0; tileColumn < across; tileColumn++)
          for (let k = 0; k < 16; k++) {
            const row = 16 * tileRow + k
            const four = fields.secondOrder.subarray(4 * (tileRow * across + tileColumn))
            const block = [0, 1, 2, 3].reduce((sum, i) => sum + (BigInt(four[i]!) << BigInt(16 * i)), 0n)
            let word = BigInt(fields.scaleCodes[row * across + tileColumn]!)
            word += BigInt(fields.zeroCodes[row * across + tileColumn]!) << 3n
            for (let c = 0; c < 16; c++)
              word += BigInt(fields.codes[row * inputs + 16 * tileColumn + c]!) << BigInt(6 + 3 * c)
            expected.push(word + (((block >> BigInt(8 * Math.floor(k / 2))) & 255n) << 54n))
          }
      expect([...words]).toEqual(expected)
      expect(unpackSpqr(words, outputs, inputs)).toEqual(fields)
      expect(unpackSpqr(new BigInt64Array(words.buffer), outputs, inputs)).toEqual(fields)
      expect(unpackSpqr(new Uint32Array(words.buffer), outputs, inputs)).toEqual(fields)
    }),
    { numRuns: 40 },
  )
})
test('each field takes all its values without touching another', () => {
  const zero = fieldsOf(16, 16, () => 0)
  for (const name of ['codes', 'scaleCodes', 'zeroCodes'] as const)
    for (let at = 0; at < 16; at++)
      for (let value = 0; value < 8; value++) {
        const fields = { ...zero, [name]: zero[name].slice() }
        fields[name][at] = value
        expect(unpackSpqr(packSpqr(fields, 16, 16), 16, 16)).toEqual(fields)
      }
})
test('copies that differ, bits above the fields, and sizes that do not fit are refused', () => {
  const fields = fieldsOf(16, 32, () => 5)
  const damaged = (at: number, bit: bigint) => {
    const words = packSpqr(fields, 16, 32)
    words[at]! ^= 1n << bit
    return words
  }
  for (const wrong of [
    () => unpackSpqr(damaged(3, 54n), 16, 32),
    () => unpackSpqr(damaged(18, 61n), 16, 32),
    () => unpackSpqr(damaged(0, 62n), 16, 32),
    () => unpackSpqr(damaged(31, 63n), 16, 32),
    () => unpackSpqr(new BigUint64Array(31), 16, 32),
    () => unpackSpqr(new BigUint64Array(16), -16, -16),
  ]) {
    expect(wrong).toThrow(FormatError)
    expect(wrong).toThrow(refused)
  }
  for (const wrong of [
    () => unpackSpqr(new BigUint64Array(16), 16, 24),
    () => packSpqr(fields, 8, 64),
    () => packSpqr({ ...fields, codes: new Uint8Array(512).fill(8) }, 16, 32),
    () => packSpqr({ ...fields, scaleCodes: new Uint8Array(31) }, 16, 32),
    () => packSpqr({ ...fields, secondOrder: new Uint16Array(4) }, 16, 32),
  ]) {
    expect(wrong).toThrow(OptionError)
    expect(wrong).toThrow(refused)
  }
})
