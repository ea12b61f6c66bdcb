import { expect, test } from 'vitest'
import { NumericalError } from '../tensor/errors.ts'
import { scope, tensor } from '../tensor/index.ts'
import { InputMagnitudes } from './input_magnitudes.ts'

test('means and largest values are of all tokens of every call', () => {
  scope(() => {
    const magnitudes = new InputMagnitudes(2)
    magnitudes.add(tensor([1, -2, -3, 4], [2, 2]))
    magnitudes.add(tensor([0, 0, 0, -6], [1, 2, 2]))
    expect([[...magnitudes.means()], [...magnitudes.largest], magnitudes.rows]).toEqual([[1, 3], [3, 6], 4])
    expect(magnitudes.dead()).toBe(0)
  })
})
test('an input that is always 0 is counted', () => {
  scope(() => {
    const magnitudes = new InputMagnitudes(2)
    magnitudes.add(tensor([0, 1], [1, 2]))
    expect(magnitudes.dead()).toBe(1)
  })
})
test.each([Number.NaN, Number.POSITIVE_INFINITY])('%f is an error of the weight and input', (value) => {
  scope(() => {
    const magnitudes = new InputMagnitudes(2)
    magnitudes.add(tensor([1, value], [1, 2]))
    expect(() => magnitudes.checkFinite('w')).toThrow(NumericalError)
    expect(() => magnitudes.checkFinite('w')).toThrow(/^w: input 1 is/)
  })
})
