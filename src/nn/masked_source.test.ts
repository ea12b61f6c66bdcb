import { expect, test } from 'vitest'
import {
  linear,
  referenceKernels,
  scope,
  type Tensor,
  tensor,
  valueAndGrad,
  withKernels,
} from '../tensor/index.ts'
import { Convolution } from './convolution.ts'
import { maskedSource } from './masked_source.ts'
import { denseSource } from './weight_source.ts'

const on = (body: () => void) => withKernels(referenceKernels(), () => scope(body))
const weight = () => tensor([1, 2, 3, 4, 5, 6], [2, 3])
const mask = () => tensor([1, 0, 1, 0, 0, 1], [2, 3], 'bool')
const x = () => tensor([1, -1, 2, 0.5, 3, -2], [2, 3])
const gradientOf = (w: Tensor, straightThrough: boolean) => {
  const source = maskedSource(denseSource(w), mask, { straightThrough })
  return valueAndGrad(() => source.matmul(x()).square().sum(), { w }).gradients.w
}
/** Of the loss at the masked weight itself. */
const dense = () => {
  const w = weight().mul(mask().cast('f32'))
  return valueAndGrad(() => linear(x(), w).square().sum(), { w }).gradients.w
}

test('a layer computes with zeros where the mask is, and the weight stays as it is', () => {
  on(() => {
    const w = weight()
    const source = maskedSource(denseSource(w), mask)
    expect([...source.dense().toArray()]).toEqual([1, 0, 3, 0, 0, 6])
    expect(source.matmul(x(), tensor([1, 2])).toArray()).toEqual(
      linear(x(), tensor([1, 0, 3, 0, 0, 6], [2, 3]), tensor([1, 2])).toArray(),
    )
    expect([...w.toArray()]).toEqual([1, 2, 3, 4, 5, 6])
    expect(source.parameters().get('weight')).toBe(w)
  })
})
test('a product keeps nothing of the masked weight', () => {
  on(() => {
    const given = x()
    const { memory } = given.kernels
    for (const straightThrough of [false, true]) {
      const kept = mask()
      const source = maskedSource(denseSource(weight()), () => kept, { straightThrough })
      const before = memory().live
      const { size } = source.matmul(given)
      expect(memory().live - before).toBe(4 * size)
    }
  })
})
test('the weight of a convolution is masked as the matrix of its rows', () => {
  on(() => {
    const kernel = tensor([1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 2, 2])
    const kept = () => tensor([1, 0, 0, 1, 1, 1, 0, 0], [2, 1, 2, 2], 'bool')
    const layer = new Convolution('conv', maskedSource(denseSource(kernel), kept), { kernel: [1, 2] })
    const x = tensor([1, 1, 1, 1], [1, 1, 2, 2])
    expect([...layer.forward(x).toArray()]).toEqual([1 + 4, 5 + 6])
  })
})
test('the gradient ends at the mask, or goes straight through it', () => {
  on(() => {
    const all = dense()
    expect(all.toArray().every((g) => g !== 0)).toBe(true)
    expect(gradientOf(weight(), true).toArray()).toEqual(all.toArray())
    expect(gradientOf(weight(), false).toArray()).toEqual(mask().where(all, 0).toArray())
  })
})
test('its size is that of a bitmask with the values that stay', () => {
  on(() => {
    const bits = 6 + 3 * 32
    expect(maskedSource(denseSource(weight()), mask).size()).toEqual({
      informationBits: bits,
      storedBits: bits,
    })
  })
})
