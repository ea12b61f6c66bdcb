/**
 * Greedy optimal brain surgeon: of each row the column goes first whose removal or rounding costs least, and the others
 * move to make up for it. The arithmetic stands in native/src/exact_obs, its oracle beside the test.
 *
 * All take a weight [rows, columns] and the inverse of the Hessian [columns, columns], both f64, and a mask [rows * columns]
 * with 0 where a weight is gone already: it stays exactly 0, and nothing makes up for it. Losses are e^2 / (2 d), so that
 * with H = 2/n X X^T they add up to the mean squared change of the output.
 */
import { Tensor, tensor } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'

/** What the rows are cut from. */
export interface ObsProblem {
  /** f64 [rows, columns] */
  readonly weight: Tensor
  /** f64 [columns, columns] */
  readonly inverse: Tensor
  readonly mask?: Uint8Array | undefined
}

/** In which order the units of each row went, and what each step cost. A unit is `width` neighbouring columns. */
export interface ObsTrace {
  readonly width: number
  /** Units of a row. */
  readonly units: number
  /** [rows * units] */
  readonly order: Uint32Array
  /** [rows * units] */
  readonly losses: Float64Array
}

/** Levels by row and group of columns: value = scale * (code - zero), codes 0 .. 2^bits - 1. */
export interface ObsGrid {
  readonly bits: number
  /** [rows, groups], any float type */
  readonly scales: Tensor
  /** u8 [rows, groups] */
  readonly zeros: Tensor
  /** Group of each column. */
  readonly groupOf: Uint32Array
  /** Columns in the order in which they are rounded. @default the greedy one */
  readonly order?: Uint32Array | undefined
}

/** Nothing where the inverse of a row lost its positive diagonal: more damping is needed. */
export type Solved<T> = T | undefined

/** Removes all units of all rows. Units that are gone already come first and cost nothing. @param width 1 to 64 */
export function obsTrace({ weight, inverse, mask }: ObsProblem, width = 1): Solved<ObsTrace> {
  const [rows, columns] = weight.shape as [number, number]
  const units = Math.ceil(columns / width)
  const { order, losses, failed } = callNative((native) =>
    native.obsTrace(weight.handle, inverse.handle, mask, width),
  )
  const trace = {
    width,
    units,
    order: new Tensor(weight.kernels, order, 'u32', [rows, units]).toArray() as Uint32Array,
    losses: new Tensor(weight.kernels, losses, 'f64', [rows, units]).toArray() as Float64Array,
  }
  return failed === undefined ? trace : undefined
}

/**
 * The weight after the first units of a trace went: f64 [levels, rows, columns].
 *
 * @param counts units that are gone, one a row, for each level; whole, 0 to `units`
 */
export function obsRows(
  { weight, inverse, mask }: ObsProblem,
  { width, units, order }: ObsTrace,
  counts: readonly Uint32Array[],
): Solved<Tensor> {
  const [rows, columns] = weight.shape as [number, number]
  const all = new Uint32Array(counts.length * rows)
  for (const [level, count] of counts.entries()) all.set(count, level * rows)
  const places = tensor(order, [rows, units], 'u32')
  const wanted = tensor(all, [counts.length, rows], 'u32')
  const { dense, failed } = callNative((native) =>
    native.obsRows(weight.handle, inverse.handle, mask, width, places.handle, wanted.handle),
  )
  const result = new Tensor(weight.kernels, dense, 'f64', [counts.length, rows, columns])
  return failed === undefined ? result : undefined
}

/**
 * The weight f64 [rows, columns] once `zeros` of every `group` neighbours are gone, 1 where it is kept [rows * columns], and
 * the losses of its rows.
 */
export function obsGroups(
  { weight, inverse, mask }: ObsProblem,
  group: number,
  zeros: number,
): Solved<{ dense: Tensor; kept: Uint8Array; losses: Float64Array }> {
  const { dense, kept, losses, failed } = callNative((native) =>
    native.obsGroups(weight.handle, inverse.handle, mask, group, zeros),
  )
  const result = {
    dense: new Tensor(weight.kernels, dense, 'f64', weight.shape),
    kept: new Tensor(weight.kernels, kept!, 'u8', weight.shape).toArray() as Uint8Array,
    losses: lossesOf(weight, losses!),
  }
  return failed === undefined ? result : undefined
}

/**
 * Rounds what the mask keeps. While a weight lies more than half a step outside of its levels, the farthest one goes first.
 * Weights that the mask does not keep are 0 and have the code of their zero.
 */
export function obsQuantize(
  { weight, inverse, mask }: ObsProblem,
  { bits, scales, zeros, groupOf, order }: ObsGrid,
): Solved<{ codes: Tensor; dense: Tensor; losses: Float64Array }> {
  const columns = weight.extent(1)
  const grid = {
    scales: scales.cast('f64'),
    zeros: zeros.cast('f64'),
    groupOf: tensor(groupOf, [columns], 'u32'),
    order: order && tensor(order, [columns], 'u32'),
  }
  const found = callNative((native) =>
    native.obsQuantize(weight.handle, inverse.handle, mask, {
      top: 2 ** bits - 1,
      scales: grid.scales.handle,
      zeros: grid.zeros.handle,
      groupOf: grid.groupOf.handle,
      ...(grid.order && { order: grid.order.handle }),
    }),
  )
  const result = {
    codes: new Tensor(weight.kernels, found.codes!, 'u8', weight.shape),
    dense: new Tensor(weight.kernels, found.dense, 'f64', weight.shape),
    losses: lossesOf(weight, found.losses!),
  }
  return found.failed === undefined ? result : undefined
}

const lossesOf = (weight: Tensor, handle: number) =>
  new Tensor(weight.kernels, handle, 'f64', [weight.extent(0)]).toArray() as Float64Array
