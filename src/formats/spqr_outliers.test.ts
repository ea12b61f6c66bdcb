import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FormatError, OptionError } from '../tensor/errors.ts'
import {
  packOrder,
  readOutliers,
  type SpqrOutliers,
  unpackOrder,
  writeCsr,
  writePtcsr,
} from './spqr_outliers.ts'

const refused = expect.objectContaining({ code: 'PARE_E_SPQR' })

/** Outliers from [row, column, f16 bits], rows ascending. */
function outliersOf(rows: number, entries: readonly (readonly [number, number, number])[]): SpqrOutliers {
  const rowOffsets = new Uint32Array(rows + 1)
  for (const [row] of entries) for (let r = row + 1; r <= rows; r++) rowOffsets[r]!++
  return {
    rowOffsets,
    columns: Uint16Array.from(entries, ([, column]) => column),
    values: Uint16Array.from(entries, ([, , bits]) => bits),
  }
}
const three = outliersOf(32, [
  [1, 5, 0x3c00],
  [1, 300, 0xc000],
  [17, 0, 0x8000],
])

test('a word holds the column below and the f16 value above, and CSR counts rows', () => {
  const { rowOffsets, colVals } = writeCsr(three)
  expect([...new Uint32Array(colVals.buffer)]).toEqual([0x3c000005, 0xc000012c, 0x80000000])
  expect([...rowOffsets]).toEqual([0, 0, ...Array(16).fill(2), ...Array(15).fill(3)])
  expect(readOutliers({ rowOffsets, colVals }, 32, 512)).toEqual(three)
})
test('PTCSR deals the entries of 16 rows in turn and fills shorter rows with 0', () => {
  const { rowOffsets, colVals } = writePtcsr(three)
  expect([...rowOffsets]).toEqual([0, 32, 48])
  const words = [...new Uint32Array(colVals.buffer)]
  expect([words[1], words[17], words[33]]).toEqual([0x3c000005, 0xc000012c, 0x80000000])
  expect(words.filter((word) => word === 0)).toHaveLength(45)
  expect(readOutliers({ rowOffsets, colVals }, 32, 512)).toEqual(three)
})
test('any outliers come back from CSR, and from PTCSR all but words of 0', () => {
  const matrices = fc
    .tuple(
      fc.integer({ min: 0, max: 3 }),
      fc.integer({ min: 1, max: 40 }),
      fc.infiniteStream(fc.nat(2 ** 18 - 1)),
    )
    .map(([tiles, inputs, stream]) => {
      const entries: [number, number, number][] = []
      for (let row = 0; row < 16 * tiles; row++)
        for (let column = 0; column < inputs; column++) {
          const drawn = stream.next().value as number
          if (drawn < 2 ** 15) entries.push([row, column, drawn])
        }
      return { rows: 16 * tiles, inputs, entries }
    })
  fc.assert(
    fc.property(matrices, ({ rows, inputs, entries }) => {
      const outliers = outliersOf(rows, entries)
      expect(readOutliers(writeCsr(outliers), rows, inputs)).toEqual(outliers)
      const stored = writePtcsr(outliers)
      // By the definition of the layout, entry by entry.
      const dense = new Map<string, number>()
      for (let r = 0; r < rows / 16; r++)
        for (let j = stored.rowOffsets[r]!; j < stored.rowOffsets[r + 1]!; j++) {
          const word = stored.colVals[j]!
          if (word !== 0) dense.set(`${16 * r + (j % 16)},${word & 0xffff}`, word >>> 16)
        }
      const seen = entries.filter(([, column, bits]) => column !== 0 || bits !== 0)
      expect(dense).toEqual(new Map(seen.map(([row, column, bits]) => [`${row},${column}`, bits])))
      expect(readOutliers(stored, rows, inputs)).toEqual(outliersOf(rows, seen))
    }),
    { numRuns: 30 },
  )
})
test('in_perm holds two inputs a word, the lower half first', () => {
  const order = Uint16Array.of(3, 1, 0, 2)
  expect([...packOrder(order)]).toEqual([0x10003, 0x20000])
  expect(unpackOrder(Int32Array.of(0x10003, 0x20000), 4)).toEqual(order)
  expect(unpackOrder(new Int32Array(0), 4)).toBeUndefined()
  const many = Uint16Array.from({ length: 65536 }, (_, i) => 65535 - i)
  expect(unpackOrder(packOrder(many), 65536)).toEqual(many)
})
test('offsets, columns and orders that cannot be are refused', () => {
  const one = (rowOffsets: number[], ...words: number[]) => ({
    rowOffsets: Int32Array.from(rowOffsets),
    colVals: Int32Array.from(words),
  })
  const padded = new Array(16).fill(0)
  expect(readOutliers(one([0, 1, 2], 5, 5), 2, 6).columns).toHaveLength(2)
  for (const wrong of [
    () => readOutliers(one([0, 1], 5), 2, 6),
    () => readOutliers(one([0, 1, 3], 5, 5), 2, 6),
    () => readOutliers(one([0, 2, 1], 5), 2, 6),
    () => readOutliers(one([1, 1, 2], 5, 5), 2, 6),
    () => readOutliers(one([-1, 1, 2], 5, 5), 2, 6),
    () => readOutliers(one([0, 1, 2], 5, 6), 2, 6),
    () => readOutliers(one([0, 2, 2], 5, 5), 2, 6),
    () => readOutliers(one([0, 8], ...padded.slice(8)), 16, 16),
    () => readOutliers(one([0, 16], ...padded), 8, 16),
    () => unpackOrder(Int32Array.of(0x10001), 2),
    () => unpackOrder(Int32Array.of(0x20000), 2),
    () => unpackOrder(Int32Array.of(0x10000), 4),
    () => unpackOrder(Int32Array.of(0x10000), 3),
  ]) {
    expect(wrong).toThrow(FormatError)
    expect(wrong).toThrow(refused)
  }
  for (const wrong of [
    () => writeCsr(outliersOf(1, [[0, 32768, 1]])),
    () => writePtcsr(outliersOf(16, [[0, 40000, 1]])),
    () => writePtcsr(outliersOf(8, [[0, 1, 1]])),
    () => packOrder(Uint16Array.of(0, 0)),
    () => packOrder(Uint16Array.of(0, 1, 2)),
  ]) {
    expect(wrong).toThrow(OptionError)
    expect(wrong).toThrow(refused)
  }
})
