/** Convolutions, pools and windows by their definitions, in f64; channels last. */
import type { WindowGeometry } from '../kernels.ts'

export interface Window {
  /** Batch, height, width and channels of the input. */
  input: readonly [number, number, number, number]
  kernel: readonly [number, number]
  geometry: WindowGeometry
}

/** Height and width of the output. */
export function outputSize({ input, kernel, geometry }: Window): [number, number] {
  const of = (axis: 0 | 1) => {
    const { padding, dilation, stride } = geometry
    const padded = input[axis + 1]! + padding[2 * axis]! + padding[2 * axis + 1]!
    return Math.floor((padded - (kernel[axis] - 1) * dilation[axis] - 1) / stride[axis]) + 1
  }
  return [of(0), of(1)]
}

/** Calls `body(position, pixel, tap)` for every tap that lies inside of its image, all numbered through the batch. */
export function eachTap(window: Window, body: (position: number, pixel: number, tap: number) => void): void {
  const { input, kernel, geometry } = window
  const [batch, height, width] = input
  const { stride, padding, dilation } = geometry
  const [down, across] = outputSize(window)
  for (let image = 0; image < batch; image++)
    for (let i = 0; i < down; i++)
      for (let j = 0; j < across; j++)
        for (let k = 0; k < kernel[0]; k++)
          for (let l = 0; l < kernel[1]; l++) {
            const y = i * stride[0] + k * dilation[0] - padding[0]
            const x = j * stride[1] + l * dilation[1] - padding[2]
            if (y < 0 || y >= height || x < 0 || x >= width) continue
            const position = (image * down + i) * across + j
            body(position, (image * height + y) * width + x, k * kernel[1] + l)
          }
}

/** Calls `body(output, input, weight)` with the places of the factors and sum of every product. */
export function eachProduct(
  window: Window,
  out: number,
  body: (output: number, input: number, weight: number) => void,
): void {
  const { input, kernel, geometry } = window
  const [depth, lanes] = [input[3] / geometry.groups, out / geometry.groups]
  const taps = kernel[0] * kernel[1]
  eachTap(window, (position, pixel, tap) => {
    for (let o = 0; o < out; o++) {
      const first = pixel * input[3] + Math.floor(o / lanes) * depth
      for (let c = 0; c < depth; c++) body(position * out + o, first + c, (o * taps + tap) * depth + c)
    }
  })
}

/** The largest number of every window and its tap; NaN wins, of equals the first. */
export function maxPool(x: Float64Array, window: Window): [values: Float64Array, taps: Uint32Array] {
  const channels = window.input[3]
  const [height, width] = outputSize(window)
  const size = window.input[0] * height * width * channels
  const [values, taps, seen] = [new Float64Array(size), new Uint32Array(size), new Uint8Array(size)]
  eachTap(window, (position, pixel, tap) => {
    for (let c = 0; c < channels; c++) {
      const [at, value] = [position * channels + c, x[pixel * channels + c]!]
      const old = values[at]!
      if (seen[at] === 1 && !(value > old || (Number.isNaN(value) && !Number.isNaN(old)))) continue
      seen[at] = 1
      values[at] = value
      taps[at] = tap
    }
  })
  return [values, taps]
}

/** Gradients added where the taps say. */
export function maxPoolGradient(
  gradient: Float64Array,
  taps: ArrayLike<number>,
  window: Window,
): Float64Array {
  const [batch, height, width, channels] = window.input
  const out = new Float64Array(batch * height * width * channels)
  eachTap(window, (position, pixel, tap) => {
    for (let c = 0; c < channels; c++) {
      const at = position * channels + c
      if (taps[at] === tap) out[pixel * channels + c]! += gradient[at]!
    }
  })
  return out
}

/** The inputs of every window, [groups, positions, taps * channels / groups]. */
export function unfold(x: Float64Array, window: Window): Float64Array {
  const { input, kernel, geometry } = window
  const [height, width] = outputSize(window)
  const [positions, depth] = [input[0] * height * width, input[3] / geometry.groups]
  const row = kernel[0] * kernel[1] * depth
  const out = new Float64Array(geometry.groups * positions * row)
  eachTap(window, (position, pixel, tap) => {
    for (let c = 0; c < input[3]; c++) {
      const group = Math.floor(c / depth)
      out[(group * positions + position) * row + tap * depth + (c % depth)] = x[pixel * input[3] + c]!
    }
  })
  return out
}
