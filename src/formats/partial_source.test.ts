import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FormatError } from '../tensor/errors.ts'
import { MissingBytes, partialSource } from './partial_source.ts'

const whole = Uint8Array.from({ length: 100 }, (_, i) => i)
const missing = (read: () => unknown) => {
  try {
    read()
  } catch (error) {
    if (error instanceof MissingBytes) return [error.offset, error.length]
    throw error
  }
  return undefined
}

test('bytes that are here are read, of others the missing part is named', () => {
  const source = partialSource('a', 100)
  expect(missing(() => source.read(0, 8))).toEqual([0, 8])
  source.add(0, whole.slice(0, 8))
  expect([...source.read(2, 3)]).toEqual([2, 3, 4])
  expect(missing(() => source.read(4, 20))).toEqual([8, 16])
  source.add(8, whole.slice(8, 24))
  expect([...source.read(4, 20)]).toEqual([...whole.slice(4, 24)])
  source.add(90, whole.slice(90))
  expect([...source.read(90, 10)]).toEqual([...whole.slice(90)])
  expect(missing(() => source.read(30, 1))).toEqual([30, 1])
})
test('what is read has a buffer of its own, whatever it was added as', () => {
  const source = partialSource('a', 100)
  source.add(0, Buffer.concat([Buffer.from(whole)]))
  const first = source.read(4, 8)
  expect(new DataView(first.buffer).getUint8(0)).toBe(4)
  first[0] = 99
  expect(source.read(4, 1)[0]).toBe(4)
})
test('a range outside of the file is refused, not fetched', () => {
  const source = partialSource('a', 100)
  for (const [offset, length] of [
    [100, 1],
    [-1, 2],
    [0, 101],
    [Number.NaN, 1],
  ])
    expect(() => source.read(offset!, length!)).toThrow(FormatError)
  expect(source.read(100, 0)).toHaveLength(0)
})
test('whoever brings what is missing reads every range in the end', () => {
  const range = fc
    .tuple(fc.nat(99), fc.nat(30))
    .map(([start, length]) => [start, Math.min(length, 100 - start)])
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), (reads) => {
      const source = partialSource('a', 100)
      for (const [offset, length] of reads as [number, number][]) {
        for (let round = 0; ; round++) {
          const lacks = missing(() => source.read(offset, length))
          if (!lacks) break
          expect(round).toBeLessThan(2)
          source.add(lacks[0]!, whole.slice(lacks[0], lacks[0]! + lacks[1]!))
        }
        expect([...source.read(offset, length)]).toEqual([...whole.slice(offset, offset + length)])
      }
    }),
  )
})
