/** Numbers of a tensor that views its storage with gaps or in another order, packed row by row. */
import { elementCount } from '../archive.ts'

export interface StridedView {
  /** First element. */
  start: number
  shape: readonly number[]
  /** In elements, one an axis, none below 0. */
  strides: readonly number[]
}

/** Whether the elements follow one another as a row-major tensor's do. */
export function isPacked({ shape, strides }: StridedView): boolean {
  let expected = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] === 0) return true
    if (shape[axis] !== 1 && strides[axis] !== expected) return false
    expected *= shape[axis]!
  }
  return true
}

/** Elements from the first to the last that the view touches. */
export const spanOf = ({ shape, strides }: StridedView): number =>
  shape.includes(0) ? 0 : shape.reduce((span, extent, axis) => span + (extent - 1) * strides[axis]!, 1)

/** @param span the bytes of the elements from the view's first to its last */
export function packed(view: StridedView, span: Uint8Array, itemBytes: number): Uint8Array {
  const { shape, strides } = view
  const count = elementCount(shape)!
  const target = new Uint8Array(count * itemBytes)
  if (count === 0) return target
  const index = shape.map(() => 0)
  let from = 0
  for (let to = 0; to < target.length; to += itemBytes) {
    for (let byte = 0; byte < itemBytes; byte++) target[to + byte] = span[from + byte]!
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis]!++
      from += strides[axis]! * itemBytes
      if (index[axis]! < shape[axis]!) break
      from -= strides[axis]! * itemBytes * shape[axis]!
      index[axis] = 0
    }
  }
  return target
}
