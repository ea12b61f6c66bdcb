/** Arithmetic on shapes: counting, broadcasting, strides, axes. */
import { OptionError, ShapeError } from './errors.ts'

export type Shape = readonly number[]

export const elementCount = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1)

/** Strides of a row-major tensor, in elements. */
export function rowMajor(shape: Shape): number[] {
  const strides = new Array<number>(shape.length)
  let step = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = step
    step *= Math.max(shape[axis]!, 1)
  }
  return strides
}

/** Strides under which the same elements have another shape of as many, or nothing where that needs a copy. */
export function reshapedStrides(
  shape: Shape,
  strides: readonly number[],
  target: Shape,
): number[] | undefined {
  // Axes that follow each other without a gap are one run.
  const runs: { extent: number; stride: number }[] = []
  shape.forEach((extent, axis) => {
    if (extent === 1) return
    const [run, stride] = [runs.at(-1), strides[axis]!]
    if (run && run.stride === extent * stride) runs.splice(-1, 1, { extent: run.extent * extent, stride })
    else runs.push({ extent, stride })
  })
  const result = new Array<number>(target.length).fill(0)
  let run = { extent: 1, stride: 1 }
  for (let axis = target.length - 1; axis >= 0; axis--) {
    const extent = target[axis]!
    if (extent === 1) continue
    if (run.extent === 1) run = runs.pop() ?? run
    if (run.extent % extent !== 0) return undefined
    result[axis] = run.stride
    run = { extent: run.extent / extent, stride: run.stride * extent }
  }
  return result
}

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((extent, i) => extent === b[i])

export const showShape = (shape: Shape): string => `[${shape.join(', ')}]`

/** Shape that both operands broadcast to: aligned at the last axis, an extent of 1 stretches. */
export function broadcastShapes(a: Shape, b: Shape, what: string): number[] {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, i) => {
    const [x, y] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1]
    if (x !== y && x !== 1 && y !== 1) {
      throw new ShapeError(
        `${what}: shapes ${showShape(a)} and ${showShape(b)} do not broadcast; extents must be equal or 1`,
      )
    }
    return x === 1 ? y : x
  })
}

/** The axis as a number from 0 on; negative ones count from the end. */
export function normalizeAxis(axis: number, rank: number, what: string): number {
  const index = axis < 0 ? axis + rank : axis
  if (Number.isInteger(index) && index >= 0 && index < rank) return index
  throw new OptionError(`${what}: axis ${axis} does not exist in a tensor of ${rank} dimensions`)
}

/** Extents must be whole numbers that fit a tensor. */
export function checkShape(shape: Shape, what: string): void {
  if (shape.length > 8)
    throw new ShapeError(`${what}: at most 8 dimensions are supported, got ${shape.length}`)
  for (const extent of shape) {
    if (!Number.isInteger(extent) || extent < 0 || extent > 0xffffffff) {
      throw new ShapeError(
        `${what}: extents must be whole numbers from 0 to 2^32 - 1, got ${showShape(shape)}`,
      )
    }
  }
}
