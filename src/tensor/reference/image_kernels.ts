/** The kernels of images and norms of channels over the memory of the reference. */
import type { Handle, Kernels, WindowGeometry } from '../kernels.ts'
import { elementCount } from '../shape.ts'
import { type ChannelSizes, channelNorm, channelNormGradient } from './channel_norm.ts'
import { eachProduct, maxPool, maxPoolGradient, outputSize, unfold, type Window } from './convolution.ts'
import type { Memory } from './memory.ts'

type ImageKernels = Pick<
  Kernels,
  | 'convolution'
  | 'convolutionInputGradient'
  | 'convolutionWeightGradient'
  | 'unfold'
  | 'maxPool'
  | 'maxPoolGradient'
  | 'channelNorm'
  | 'channelNormGradient'
  | 'scaleShift'
>

export function imageKernels(memory: Memory): ImageKernels {
  const shapeOf = (x: Handle) => memory.view(x).shape
  const typeOf = (x: Handle) => memory.view(x).dtype
  const values = (x: Handle) => memory.values(x)
  const optional = (x: Handle | undefined) => (x === undefined ? undefined : values(x))
  const last = (x: Handle) => shapeOf(x).at(-1)!
  const windowOf = (x: Handle, kernel: readonly [number, number], geometry: WindowGeometry): Window => ({
    input: shapeOf(x) as unknown as Window['input'],
    kernel,
    geometry,
  })
  const sizesOf = (x: Handle, groups: number): ChannelSizes => {
    const [samples, rows, channels] = shapeOf(x) as [number, number, number]
    return { samples, rows, channels, groups }
  }

  return {
    convolution(x, weight, bias, geometry, relu) {
      const [out, down, across] = shapeOf(weight) as [number, number, number]
      const window = windowOf(x, [down, across], geometry)
      const shape = [window.input[0], ...outputSize(window), out]
      const [a, w, b] = [values(x), values(weight), optional(bias)]
      const sums = Float64Array.from({ length: elementCount(shape) }, (_, i) => b?.[i % out] ?? 0)
      eachProduct(window, out, (to, i, j) => {
        sums[to]! += a[i]! * w[j]!
      })
      return memory.compute(typeOf(x), shape, relu ? sums.map((sum) => Math.max(sum, 0)) : sums)
    },
    convolutionInputGradient(gradient, weight, size, geometry) {
      const [out, down, across, depth] = shapeOf(weight) as [number, number, number, number]
      const input = [shapeOf(gradient)[0]!, ...size, depth * geometry.groups] as const
      const [g, w, sums] = [values(gradient), values(weight), new Float64Array(elementCount(input))]
      eachProduct({ input, kernel: [down, across], geometry }, out, (from, to, j) => {
        sums[to]! += g[from]! * w[j]!
      })
      return memory.compute(typeOf(gradient), input, sums)
    },
    convolutionWeightGradient(x, gradient, kernel, geometry) {
      const [out, channels] = [last(gradient), last(x)]
      const shape = [out, ...kernel, channels / geometry.groups]
      const [a, g, sums] = [values(x), values(gradient), new Float64Array(elementCount(shape))]
      eachProduct(windowOf(x, kernel, geometry), out, (from, i, to) => {
        sums[to]! += g[from]! * a[i]!
      })
      return memory.compute(typeOf(x), shape, sums)
    },
    unfold(x, kernel, geometry) {
      const window = windowOf(x, kernel, geometry)
      const [height, width] = outputSize(window)
      const columns = (kernel[0] * kernel[1] * last(x)) / geometry.groups
      const shape = [geometry.groups, window.input[0] * height * width, columns]
      return memory.compute(typeOf(x), shape, unfold(values(x), window))
    },
    maxPool(x, kernel, geometry, hasTaps) {
      const window = windowOf(x, kernel, geometry)
      const shape = [window.input[0], ...outputSize(window), last(x)]
      const [largest, taps] = maxPool(values(x), window)
      const out = memory.compute(typeOf(x), shape, largest)
      if (!hasTaps) return [out]
      const small = kernel[0] * kernel[1] <= 256
      return [out, memory.add(small ? 'u8' : 'u32', shape, small ? Uint8Array.from(taps) : taps)]
    },
    maxPoolGradient(gradient, taps, size, kernel, geometry) {
      const input = [shapeOf(gradient)[0]!, ...size, last(gradient)] as const
      const out = maxPoolGradient(values(gradient), values(taps), { input, kernel, geometry })
      return memory.compute(typeOf(gradient), input, out)
    },
    channelNorm(x, weight, bias, { residual, relu }, groups, epsilon) {
      const sizes = sizesOf(x, groups)
      const [norm, mean, variance] = channelNorm(values(x), optional(weight), optional(bias), sizes, epsilon)
      const added = optional(residual)
      const sum = added ? norm.map((value, i) => value + added[i]!) : norm
      const out = relu ? sum.map((value) => Math.max(value, 0)) : sum
      const wide = typeOf(x) === 'bf16' ? 'f32' : typeOf(x)
      const statistics = [mean, variance].map((part) => memory.compute(wide, [sizes.samples, groups], part))
      return [memory.compute(typeOf(x), shapeOf(x), out), statistics[0]!, statistics[1]!]
    },
    channelNormGradient(x, gradient, weight, { mean, variance, floored }, ofSum, groups, epsilon) {
      const [arrived, found] = [values(gradient), [values(mean), values(variance)] as const]
      const y = optional(floored)
      const given = y ? arrived.map((g, i) => (y[i]! > 0 ? g : y[i]! * 0)) : arrived
      const parts = channelNormGradient(
        values(x),
        given,
        optional(weight),
        found,
        sizesOf(x, groups),
        epsilon,
      )
      const all = ofSum ? [...parts, given] : parts
      return all.map((part, i) =>
        memory.compute(typeOf(x), i === 1 || i === 2 ? [last(x)] : shapeOf(x), part),
      )
    },
    scaleShift(x, scale, shift) {
      const [factors, terms, channels] = [values(scale), values(shift), last(x)]
      const out = values(x).map((value, i) => value * factors[i % channels]! + terms[i % channels]!)
      return memory.compute(typeOf(x), shapeOf(x), out)
    },
  }
}
