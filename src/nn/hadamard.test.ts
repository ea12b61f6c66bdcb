import { describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { hadamardCores, hadamardFactors, hadamardMatrix } from './hadamard.ts'

/** Entries of H H^T that are not those of n I. */
function faults(matrix: Int8Array, size: number): number {
  let found = 0
  for (let i = 0; i < size; i++)
    for (let j = 0; j <= i; j++) {
      let sum = 0
      for (let k = 0; k < size; k++) sum += matrix[i * size + k]! * matrix[j * size + k]!
      if (sum !== (i === j ? size : 0)) found++
    }
  return found
}

describe.each([1, 2, 4, 64, 576, ...hadamardCores.filter((core) => core > 1)])('of %i rows', (size) => {
  test('H H^T is n I, and every entry is 1 or -1', () => {
    const matrix = hadamardMatrix(size)
    expect(matrix.length).toBe(size * size)
    expect(matrix.every((entry) => Math.abs(entry) === 1)).toBe(true)
    expect(faults(matrix, size)).toBe(0)
  })
})

test('the widths of common models have a Hadamard matrix', () => {
  const cores = [12, 20, 28, 36, 40, 52, 60, 108, 140, 156, 172]
  for (const core of cores)
    expect(hadamardFactors(core * 8).core * hadamardFactors(core * 8).power).toBe(core * 8)
  expect(hadamardFactors(576)).toEqual({ core: 36, power: 16 })
  expect(hadamardFactors(1536)).toEqual({ core: 12, power: 128 })
  expect(hadamardFactors(384)).toEqual({ core: 12, power: 32 })
  expect(hadamardFactors(11008)).toEqual({ core: 172, power: 64 })
})

test('a width without one is refused, and those with one are named', () => {
  expect(() => hadamardFactors(92)).toThrow(OptionError)
  expect(() => hadamardFactors(92)).toThrow(/power of two, or one times 12, 20, 28, 36, 44/)
  for (const size of [0, -4, 2.5, 3, Number.NaN]) expect(() => hadamardFactors(size)).toThrow(OptionError)
})
