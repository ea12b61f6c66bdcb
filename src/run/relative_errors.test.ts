import { expect, test } from 'vitest'
import { currentKernels, scope, type Tensor, tensor } from '../tensor/index.ts'
import { relativeErrors } from './relative_errors.ts'

const row = (...values: number[]): Tensor => tensor(values, [1, values.length])
const gramOf = (...values: number[]): Tensor =>
  tensor(values, [Math.sqrt(values.length), Math.sqrt(values.length)], 'f64')

test('without inputs each error is |W - W’|^2 over |W|^2', () => {
  // (2 - 1)^2 / (1 + 4) and (1 + 1)^2 / (1 + 4).
  expect(relativeErrors(row(1, 2), [row(1, 1), row(-1, 2)], { rows: 0 })).toEqual([1 / 5, 4 / 5])
})
test('with inputs an error counts as much as the output that it moves', () => {
  // x = (1, 0) and (0, 2): the second column weighs four times the first.
  const gram = gramOf(1, 0, 0, 4)
  expect(relativeErrors(row(1, 2), [row(0, 2), row(1, 1)], { gram, rows: 2 })).toEqual([1 / 17, 4 / 17])
})
test('errors that the inputs cancel are none', () => {
  // x = (1, 1): 2 + 1 = 3 + 0, but 3 + 1 is one off of 3.
  const gram = gramOf(1, 1, 1, 1)
  expect(relativeErrors(row(2, 1), [row(3, 0), row(3, 1)], { gram, rows: 1 })).toEqual([0, 1 / 9])
})
test('rows add up before they are divided', () => {
  // 1 of 1 + 4, not the mean of 1 / 1 and 0 / 4.
  expect(relativeErrors(tensor([1, 2], [2, 1]), [tensor([0, 2], [2, 1])], { rows: 0 })).toEqual([1 / 5])
})
test('what is equal has no error, also where the output is 0', () => {
  const gram = gramOf(0, 0, 0, 0)
  expect(relativeErrors(row(1, 2), [row(1, 2)], { gram, rows: 1 })).toEqual([0])
  expect(relativeErrors(row(0, 0), [row(0, 0)], { rows: 0 })).toEqual([0])
})
test('where no output is left the weights themselves are compared, so that the number is finite', () => {
  // x = (2, -1): W x = 0. (2 - 1)^2 / (1 + 4).
  const gram = gramOf(4, -2, -2, 1)
  expect(relativeErrors(row(1, 2), [row(1, 1)], { gram, rows: 1 })).toEqual([1 / 5])
})
test('a Gram matrix that rounding has bent gives no error below 0', () => {
  // (1, -1) gram (1, -1)^T = 1 - 1.5 - 1.5 + 1 = -1.
  expect(relativeErrors(row(2, 1), [row(3, 0)], { gram: gramOf(1, 1.5, 1.5, 1), rows: 1 })).toEqual([0])
})
test('only numbers stay', () => {
  scope(() => {
    const [dense, other, gram] = [row(1, 2), row(1, 1), gramOf(1, 0, 0, 1)]
    const before = currentKernels().memory().tensors
    relativeErrors(dense, [other, dense], { gram, rows: 2 })
    expect(currentKernels().memory().tensors).toBe(before)
  })
})
