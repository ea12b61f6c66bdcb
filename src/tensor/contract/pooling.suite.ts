import { expect } from 'vitest'
import * as pare from '../index.ts'
import { averagePool2d, maxPool2d, tensor, valueAndGrad, zeros } from '../index.ts'
import { type Claim, computing, exactTensor, expectNear, expectShape, valuesOf } from './claims.suite.ts'

/** Values of every window of x [batch, height, width, channels] that lie inside of the image, by output. */
function windows(x: pare.Tensor, kernel: number, stride: number, before: number, after: number): number[][] {
  const [batch, height, width, channels] = x.shape as [number, number, number, number]
  const values = valuesOf(x)
  const count = (extent: number) => Math.floor((extent + before + after - kernel) / stride) + 1
  const found: number[][] = []
  for (let b = 0; b < batch; b++)
    for (let i = 0; i < count(height); i++)
      for (let j = 0; j < count(width); j++)
        for (let c = 0; c < channels; c++) {
          const inside: number[] = []
          for (let y = i * stride - before; y < i * stride - before + kernel; y++)
            for (let z = j * stride - before; z < j * stride - before + kernel; z++)
              if (y >= 0 && y < height && z >= 0 && z < width)
                inside.push(values[((b * height + y) * width + z) * channels + c]!)
          found.push(inside)
        }
  return found
}
const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)

export function poolingClaims(claim: Claim): void {
  for (const dtype of computing) {
    claim(`${dtype}: pools are the largest and the mean of every window`, () => {
      const x = exactTensor([2, 7, 6, 19], dtype)
      for (const [kernel, stride, before, after] of [
        [2, 2, 0, 0],
        [3, 2, 1, 1],
        [3, 1, 0, 2],
      ] as const) {
        const found = windows(x, kernel, stride, before, after)
        const options = { stride, padding: [before, after, before, after] as const }
        expectNear(
          maxPool2d(x, kernel, options),
          found.map((inside) => Math.max(...inside)),
          { units: 0 },
        )
        expectNear(
          averagePool2d(x, kernel, options),
          found.map((inside) => total(inside) / inside.length),
          { units: 8, scale: 2 },
        )
        expectNear(
          averagePool2d(x, kernel, { ...options, countPadding: true }),
          found.map((inside) => total(inside) / kernel ** 2),
          { units: 8, scale: 2 },
        )
      }
    })
    claim(`${dtype}: the mean of an image, and larger images of equal pixels`, () => {
      const x = exactTensor([2, 2, 3, 5], dtype)
      expectNear(pare.globalAveragePool(x), valuesOf(x.mean([1, 2])), { units: 0 })
      const large = pare.upsampleNearest(x, 2)
      expectShape(large, [2, 4, 6, 5])
      for (const [i, j] of [
        [0, 0],
        [1, 1],
      ] as const)
        expectNear(large.slice(1, i, 4, 2).slice(2, j, 6, 2), valuesOf(x), { units: 0 })
    })
    claim(`${dtype}: of equals the first gets the gradient, and windows that overlap add`, () => {
      const x = tensor([1, 3, 3, 3, 0, 2], [1, 1, 6, 1], dtype)
      const { gradients } = valueAndGrad(() => maxPool2d(x, [1, 3], { stride: [1, 1] }).sum(), { x })
      expectNear(gradients.x!, [0, 2, 1, 1, 0, 0], { units: 0 })
    })
  }
  claim('NaN wins, padding never', () => {
    const x = tensor([-1, NaN, -3, -4], [1, 2, 2, 1])
    expect(valuesOf(maxPool2d(x, 2, { stride: 1, padding: 1 }))).toEqual([
      -1,
      NaN,
      NaN,
      -1,
      NaN,
      NaN,
      -3,
      -3,
      -4,
    ])
  })
  claim('windows of more than 256 taps find their gradient too', () => {
    const x = exactTensor([1, 1, 600, 2])
    const { gradients } = valueAndGrad(() => maxPool2d(x, [1, 300]).sum(), { x })
    const found = valuesOf(gradients.x!)
    expect(total(found)).toBe(4)
    expect(found.filter((g) => g !== 0).length).toBe(4)
  })
  claim('kernels that padding would hide are refused', () => {
    expect(() => maxPool2d(zeros([1, 4, 4, 1]), 2, { padding: 2 })).toThrow(/padding narrower/)
    expect(() => averagePool2d(zeros([1, 4, 4, 1]), 0)).toThrow(/kernel from 1 on|stride/)
    expect(() => maxPool2d(zeros([1, 4, 4, 1]), 5)).toThrow(/window of 5/)
    expect(() => pare.upsampleNearest(zeros([1, 4, 4, 1]), 1.5)).toThrow(/whole number/)
  })
}
