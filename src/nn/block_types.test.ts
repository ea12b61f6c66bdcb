import { expect, test } from 'vitest'
import {
  bitsPerWeight,
  blockTypeNames,
  fileTypes,
  isBlockType,
  isCodedType,
  nameOfId,
  typeForRow,
  typeOfId,
  typeOfName,
} from './block_types.ts'

test('numbers, lengths and bytes are those of the format', () => {
  const expected: [number, string, number, number][] = [
    [0, 'F32', 1, 4],
    [1, 'F16', 1, 2],
    [2, 'Q4_0', 32, 18],
    [3, 'Q4_1', 32, 20],
    [6, 'Q5_0', 32, 22],
    [7, 'Q5_1', 32, 24],
    [8, 'Q8_0', 32, 34],
    [10, 'Q2_K', 256, 84],
    [11, 'Q3_K', 256, 110],
    [12, 'Q4_K', 256, 144],
    [13, 'Q5_K', 256, 176],
    [14, 'Q6_K', 256, 210],
    [20, 'IQ4_NL', 32, 18],
    [30, 'BF16', 1, 2],
  ]
  for (const [id, name, blockLength, blockBytes] of expected)
    expect(typeOfName(name)).toEqual({ id, name, blockLength, blockBytes })
  expect(expected.map(([, name]) => name).sort()).toEqual([...blockTypeNames].sort())
})
test('types with codes are those with several weights a block', () => {
  for (const name of blockTypeNames) expect(isCodedType(name)).toBe(typeOfName(name)!.blockLength > 1)
  expect(isCodedType('IQ2_XXS')).toBe(false)
})
test('bits per weight count the scales', () => {
  const bits = {
    Q8_0: 8.5,
    Q6_K: 6.5625,
    Q5_K: 5.5,
    Q5_0: 5.5,
    Q4_1: 5,
    Q4_K: 4.5,
    Q4_0: 4.5,
    Q3_K: 3.4375,
    Q2_K: 2.625,
  }
  for (const [name, value] of Object.entries(bits)) expect(bitsPerWeight(name as 'Q8_0')).toBe(value)
})
test('a row that 256 does not divide takes the stand-in of llama.cpp, one that 32 does not divide F16', () => {
  const standIns = { Q2_K: 'IQ4_NL', Q3_K: 'IQ4_NL', Q4_K: 'Q5_0', Q5_K: 'Q5_1', Q6_K: 'Q8_0' } as const
  for (const [wanted, other] of Object.entries(standIns)) {
    expect(typeForRow(wanted as 'Q4_K', 512)).toBe(wanted)
    expect(typeForRow(wanted as 'Q4_K', 576)).toBe(other)
    expect(typeForRow(wanted as 'Q4_K', 100)).toBe('F16')
  }
  expect(typeForRow('Q8_0', 33)).toBe('F16')
  expect(typeForRow('F32', 33)).toBe('F32')
})
test('types that are not computed with, withdrawn ones and unknown ones still have a name', () => {
  expect(nameOfId(16)).toBe('IQ2_XXS')
  expect(typeOfId(16)).toBeDefined()
  expect(isBlockType('IQ2_XXS')).toBe(false)
  expect(nameOfId(31)).toBe('Q4_0_4_4')
  expect(typeOfId(31)).toBeUndefined()
  expect(nameOfId(77)).toBe('type 77')
})
test('the mixes have the numbers of general.file_type', () => {
  expect(fileTypes).toMatchObject({
    F32: 0,
    F16: 1,
    Q4_0: 2,
    Q8_0: 7,
    Q2_K: 10,
    Q3_K_M: 12,
    Q4_K_M: 15,
    Q6_K: 18,
    BF16: 32,
  })
})
