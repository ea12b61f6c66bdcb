import { expect } from 'vitest'
import * as pare from '../index.ts'
import { conv1d, conv2d, full, type Tensor, tensor, vjp, zeros } from '../index.ts'
import { type Claim, computing, exactTensor, expectNear, expectShape, valuesOf } from './claims.suite.ts'

/** Values 1, 2, 3, ... of every computing type. */
const counting = (shape: readonly number[], dtype: pare.DType = 'f32'): Tensor =>
  tensor(
    Float64Array.from({ length: pare.elementCount(shape) }, (_, i) => i + 1),
    shape,
    dtype,
  )

interface Case {
  x: readonly number[]
  weight: readonly number[]
  options?: pare.ConvolutionOptions
}

/** Odd sizes, every option, tiles with and without rests. */
const cases: Record<string, Case> = {
  'three by three': { x: [2, 5, 7, 3], weight: [5, 3, 3, 3], options: { padding: 1 } },
  'stride 2, uneven padding': {
    x: [2, 8, 9, 4],
    weight: [18, 3, 3, 4],
    options: { stride: 2, padding: [0, 1, 0, 1] },
  },
  'dilation and unequal axes': {
    x: [1, 9, 7, 2],
    weight: [3, 2, 3, 2],
    options: { stride: [1, 2], dilation: [3, 1], padding: [1, 2] },
  },
  'strides wider than the kernel': { x: [1, 7, 7, 3], weight: [4, 1, 1, 3], options: { stride: 3 } },
  'more padding than the kernel': { x: [1, 2, 3, 1], weight: [1, 2, 2, 1], options: { padding: 3 } },
  groups: { x: [2, 6, 5, 6], weight: [9, 3, 3, 2], options: { groups: 3, padding: 1 } },
  depthwise: { x: [2, 7, 6, 19], weight: [19, 3, 3, 1], options: { groups: 19, padding: 1 } },
  'depthwise with stride': {
    x: [1, 9, 8, 17],
    weight: [17, 5, 5, 1],
    options: { groups: 17, stride: 2, padding: [1, 2, 2, 2] },
  },
}

/** The result by its definition. */
function sums(x: Tensor, weight: Tensor, out: readonly number[], options: pare.ConvolutionOptions) {
  const pairOf = (pair: number | readonly number[] = 1) => (typeof pair === 'number' ? [pair, pair] : pair)
  const given = options.padding ?? 0
  const sides = typeof given === 'number' ? [given, given, given, given] : given
  const [top, left] = sides.length === 4 ? [sides[0]!, sides[2]!] : [sides[0]!, sides[1]!]
  const [stride, dilation, groups] = [pairOf(options.stride), pairOf(options.dilation), options.groups ?? 1]
  const [, height, width, channels] = x.shape as [number, number, number, number]
  const [lanes, kh, kw, depth] = weight.shape as [number, number, number, number]
  const [a, w] = [valuesOf(x), valuesOf(weight)]
  const result: number[] = []
  for (let b = 0; b < out[0]!; b++)
    for (let i = 0; i < out[1]!; i++)
      for (let j = 0; j < out[2]!; j++)
        for (let o = 0; o < lanes; o++) {
          let sum = 0
          const first = Math.floor(o / (lanes / groups)) * depth
          for (let k = 0; k < kh; k++)
            for (let l = 0; l < kw; l++) {
              const row = i * stride[0]! + k * dilation[0]! - top
              const column = j * stride[1]! + l * dilation[1]! - left
              if (row < 0 || row >= height || column < 0 || column >= width) continue
              for (let c = 0; c < depth; c++)
                sum +=
                  a[((b * height + row) * width + column) * channels + first + c]! *
                  w[((o * kh + k) * kw + l) * depth + c]!
            }
          result.push(sum)
        }
  return result
}

export function convolutionClaims(claim: Claim): void {
  claim('a window of two by two over three by three, worked by hand', () => {
    const x = counting([1, 3, 3, 1])
    const weight = tensor([1, 10, 100, 1000], [1, 2, 2, 1])
    expectNear(conv2d(x, weight), [5421, 6532, 8754, 9865], { units: 0 })
    const padded = conv2d(x, weight, tensor([0.5]), { padding: [1, 0, 1, 0] })
    expectNear(padded, [1000.5, 2100.5, 3200.5, 4010.5, 5421.5, 6532.5, 7040.5, 8754.5, 9865.5], { units: 0 })
    expectNear(conv2d(x, weight.neg(), tensor([6000]), { activation: 'relu' }), [579, 0, 0, 0], { units: 0 })
  })
  for (const dtype of computing) {
    for (const [name, { x: shape, weight: weightShape, options = {} }] of Object.entries(cases)) {
      claim(`${dtype}: convolution, ${name}: the sums of its definition`, () => {
        const [x, weight] = [exactTensor(shape, dtype), exactTensor(weightShape, dtype, 2)]
        const y = conv2d(x, weight, undefined, options)
        // Products of multiples of 1/64 below 4 add up exactly in f32; bf16 rounds once.
        expectNear(y, sums(x, weight, y.shape, options))
        const bias = exactTensor([weightShape[0]!], dtype, 3)
        const biased = sums(x, weight, y.shape, options).map((sum, i) => sum + valuesOf(bias)[i % bias.size]!)
        expectNear(conv2d(x, weight, bias, options), biased)
        expectNear(
          conv2d(x, weight, bias, { ...options, activation: 'relu' }),
          biased.map((sum) => Math.max(sum, 0)),
        )
      })
    }
    claim(`${dtype}: strided views are read as their copies`, () => {
      const x = exactTensor([5, 2, 3, 6], dtype).permute([1, 3, 0, 2])
      const weight = exactTensor([3, 2, 3, 4], dtype, 2).transpose()
      expectNear(conv2d(x, weight), valuesOf(conv2d(x.contiguous(), weight.contiguous())), { units: 0 })
    })
    claim(
      `${dtype}: one dimension is an image of height 1, unfolding gives the columns of the weight`,
      () => {
        const [x, weight] = [exactTensor([2, 11, 4], dtype), exactTensor([6, 3, 4], dtype, 2)]
        const options = { stride: 2, dilation: 2, padding: [3, 1] as const }
        const y = conv1d(x, weight, undefined, options)
        expectShape(y, [2, 6, 6])
        const window = { stride: [1, 2], dilation: [1, 2], padding: [0, 0, 3, 1] } as const
        const columns = pare.unfold(x.unsqueeze(1), [1, 3], window).squeeze(0)
        expectNear(columns.matmul(weight.reshape([6, 12]).transpose()), valuesOf(y), { units: 2, scale: 8 })
      },
    )
    claim(`${dtype}: unfolding by groups gives the columns of each group`, () => {
      const x = exactTensor([2, 4, 5, 6], dtype)
      const parts = pare.unfold(x, [2, 3], { groups: 3, padding: [1, 0] })
      expectShape(parts, [3, 2 * 5 * 3, 12])
      for (const group of [0, 1, 2]) {
        const alone = pare.unfold(x.slice(3, group * 2, group * 2 + 2), [2, 3], { padding: [1, 0] })
        expectNear(parts.select(0, group), valuesOf(alone), { units: 0 })
      }
    })
  }
  claim('NaN goes only where its windows are', () => {
    const x = full([1, 4, 4, 1], 1)
    const holed = pare.where(tensor([...new Array(15).fill(0), 1], x.shape, 'bool'), full(x.shape, NaN), x)
    const y = conv2d(holed, full([1, 2, 2, 1], 1), undefined, { activation: 'relu' })
    expect(valuesOf(y)).toEqual([4, 4, 4, 4, 4, 4, 4, 4, NaN])
  })
  claim('an empty batch passes, and its weight has a gradient of zeros', () => {
    const [x, weight] = [zeros([0, 4, 4, 2]), full([3, 3, 3, 2], 1)]
    const { value, pull } = vjp(() => conv2d(x, weight, undefined, { padding: 1 }), [x, weight])
    expectShape(value, [0, 4, 4, 3])
    const gradients = pull([[value, zeros([0, 4, 4, 3])]])
    expectShape(gradients[0]!, [0, 4, 4, 2])
    expectNear(gradients[1]!, new Float64Array(54))
  })
  claim('TensorFlow\'s "same" padding puts what does not divide after', () => {
    expect(pare.samePadding(224, 3, 2)).toEqual([0, 1])
    expect(pare.samePadding(7, 3, 2)).toEqual([1, 1])
    expect(pare.samePadding(5, 5, 1)).toEqual([2, 2])
    expect(pare.samePadding(10, 1, 2)).toEqual([0, 0])
    expect(pare.samePadding(8, 3, 1, 2)).toEqual([2, 2])
  })
  claim('shapes and options that do not fit are refused with the way out', () => {
    const x = zeros([1, 4, 4, 4])
    expect(() => conv2d(x, zeros([2, 3, 3, 3]))).toThrow(/4 channels in 1 groups need a weight .*4\]/)
    expect(() => conv2d(x, zeros([3, 3, 3, 2]), undefined, { groups: 2 })).toThrow(/out divisible by 2/)
    expect(() => conv2d(x, zeros([2, 5, 1, 4]))).toThrow(/window of 5 .* height 4 .*pad more/)
    expect(() => conv2d(x, zeros([2, 3, 3, 4]), zeros([3]))).toThrow(/bias needs shape \[2\]/)
    expect(() => conv2d(x, zeros([2, 3, 3, 4], 'f64'))).toThrow(/number type/)
    expect(() => conv2d(x, zeros([2, 3, 3, 4]), undefined, { stride: 0 })).toThrow(/stride/)
    expect(() => conv2d(x, zeros([2, 3, 3, 4]), undefined, { padding: -1 })).toThrow(/padding/)
    expect(() => conv2d(zeros([4, 4, 4]), zeros([2, 3, 3, 4]))).toThrow(/batch, height/)
    expect(() => pare.unfold(x, 3, { groups: 3 })).toThrow(/3 groups/)
  })
}
