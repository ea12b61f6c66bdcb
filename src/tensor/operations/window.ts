/** Where the windows of convolutions and pools lie: strides, zeros around the image, dilation. */
import { OptionError, ShapeError } from '../errors.ts'
import type { WindowGeometry } from '../kernels.ts'
import { showShape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'

/** One number for both axes, or [height, width]. */
export type Pair = number | readonly [number, number]

/** One number for all sides, [vertical, horizontal], or [top, bottom, left, right]. */
export type Padding = Pair | readonly [number, number, number, number]

export interface WindowOptions {
  /** Inputs from one window to the next. @default 1 */
  stride?: Pair
  /** Zeros around the image, from 0 on; TensorFlow's "same" is `samePadding`. @default 0 */
  padding?: Padding
  /** Inputs from one tap to the next. @default 1 */
  dilation?: Pair
  /** Channels are cut into as many groups, which do not see each other. @default 1 */
  groups?: number
}

/** The options as kernels take them. */
export function geometryOf(name: string, options: WindowOptions): WindowGeometry {
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options
  const geometry = { stride: pairOf(stride), padding: sidesOf(padding), dilation: pairOf(dilation), groups }
  const isCount = (least: number) => (value: number) =>
    Number.isInteger(value) && value >= least && value < 2 ** 31
  for (const what of ['stride', 'dilation'] as const) {
    if (geometry[what].length !== 2 || !geometry[what].every(isCount(1)))
      throw new OptionError(`${name}: ${what} needs whole numbers from 1 on, got [${geometry[what]}]`)
  }
  if (geometry.padding.length !== 4 || !geometry.padding.every(isCount(0)))
    throw new OptionError(`${name}: padding needs whole numbers from 0 on, got [${geometry.padding}]`)
  if (!isCount(1)(groups))
    throw new OptionError(`${name}: groups needs a whole number from 1 on, got ${groups}`)
  return geometry
}

/** Positions of a window over an axis. @throws ShapeError where not one fits. */
export function positionsOf(
  name: string,
  extent: number,
  kernel: number,
  { stride, padding, dilation }: WindowGeometry,
  axis: 0 | 1,
): number {
  const span = (kernel - 1) * dilation[axis] + 1
  const room = extent + padding[2 * axis]! + padding[2 * axis + 1]! - span
  if (kernel >= 1 && room >= 0) return Math.floor(room / stride[axis]) + 1
  throw new ShapeError(
    `${name}: a window of ${kernel} (over ${span} with dilation) does not fit ${axis === 0 ? 'height' : 'width'} ${extent} with padding ${padding[2 * axis]} and ${padding[2 * axis + 1]}; pad more`,
    { facts: { kernel, extent } },
  )
}

/** Height and width of what windows over x [batch, height, width, channels] give. */
export function sizeOver(
  name: string,
  x: Tensor,
  kernel: readonly [number, number],
  geometry: WindowGeometry,
): [number, number] {
  if (x.rank !== 4)
    throw new ShapeError(`${name}: needs x [batch, height, width, channels], got ${showShape(x.shape)}`)
  return [
    positionsOf(name, x.shape[1]!, kernel[0], geometry, 0),
    positionsOf(name, x.shape[2]!, kernel[1], geometry, 1),
  ]
}

/**
 * Zeros before and after an axis, so that there is a window for every `stride` inputs, as TensorFlow's "SAME": what
 * does not divide evenly goes after.
 *
 * @example const [top, bottom] = samePadding(224, 3, 2) // [0, 1]
 */
export function samePadding(
  extent: number,
  kernel: number,
  stride: number,
  dilation = 1,
): [before: number, after: number] {
  const span = (kernel - 1) * dilation + 1
  const total = Math.max(0, (Math.ceil(extent / stride) - 1) * stride + span - extent)
  const before = Math.floor(total / 2)
  return [before, total - before]
}

export const pairOf = (pair: Pair): readonly [number, number] =>
  typeof pair === 'number' ? [pair, pair] : pair

function sidesOf(padding: Padding): readonly [number, number, number, number] {
  if (typeof padding === 'number') return [padding, padding, padding, padding]
  if (padding.length === 4) return padding
  const [vertical, horizontal] = padding
  return [vertical, vertical, horizontal, horizontal]
}
