import { expect, test } from 'vitest'
import { randomStream, scope, tensor } from '../../tensor/index.ts'
import { affineGrid, neighbourGroups } from '../grid.ts'
import { bitmaskOf } from './bitmask.ts'
import { maskedGrid } from './masked_grid.ts'
import { decodeMasked, maskedWeight, maskedWords } from './masked_product.ts'
import { storedProduct } from './stored_words.ts'
import { decodeStored } from './values.ts'

const [ROWS, COLUMNS] = [3, 70]
const mask = Uint8Array.from({ length: ROWS * COLUMNS }, (_, i) => Number(i % 3 !== 0))

test('a stream has the numbers of its bitmask, and multiplies by what lives alone', () => {
  scope(() => {
    const values = bitmaskOf(randomStream(1, 'w').normal([ROWS, COLUMNS]), mask, 'f16')
    const weight = maskedWeight(values)!
    expect(decodeMasked(weight).bytes()).toEqual(decodeStored(values).bytes())
    // A unit vector asks for one column.
    const unit = tensor(
      Float32Array.from({ length: COLUMNS }, (_, i) => Number(i === 68)),
      [1, COLUMNS],
    )
    const column = decodeStored(values).slice(1, 68, 69).contiguous()
    expect(storedProduct(maskedWords(weight), weight.shape[0], unit).bytes()).toEqual(column.bytes())
  })
})

test('groups of 32, of a multiple of 64 and of a whole row have streams, others none', () => {
  const streams = (groupSize: number | 'row', columns: number, order = (column: number) => column) => {
    const width = groupSize === 'row' ? columns : groupSize
    const groups = Math.ceil(columns / width)
    const values = {
      kind: 'grid',
      grid: affineGrid({ bits: 4, groupSize }),
      codes: tensor(new Uint8Array(columns), [1, columns], 'u8'),
      scales: tensor(new Float32Array(groups).fill(1), [1, groups]),
      zeros: tensor(new Uint8Array(groups), [1, groups], 'u8'),
      groupOf: neighbourGroups(columns, width).map((_, i, all) => all[order(i)]!),
    } as const
    return maskedWeight(maskedGrid(values, new Uint8Array(columns).fill(1))) !== undefined
  }
  scope(() => {
    expect([32, 64, 128].map((group) => streams(group, 256))).toEqual([true, true, true])
    expect(streams('row', 100)).toBe(true)
    expect([16, 48, 96].map((group) => streams(group, 192))).toEqual([false, false, false])
    expect(streams(64, 128, (column) => 127 - column)).toBe(false)
  })
})

test('marks that do not agree with the numbers are damage', () => {
  const values = bitmaskOf(tensor([1, 2, 3], [1, 3]), Uint8Array.of(1, 0, 1), 'f32')
  expect(() => maskedWeight({ ...values, mask: Uint8Array.of(0b111) })).toThrow(/marks 3 places for 2/)
})
