/** Kernels that move stored elements: they never look at what a number means, but sorts do. */
import { type DType, type NumberArray, storageArray } from '../dtype.ts'
import { ShapeError } from '../errors.ts'
import { elementCount, type Shape } from '../shape.ts'

/** A tensor seen as [outer, extent, inner] around one axis. */
function around(shape: Shape, axis: number) {
  return {
    outer: elementCount(shape.slice(0, axis)),
    extent: shape[axis]!,
    inner: elementCount(shape.slice(axis + 1)),
  }
}

function checked(index: number, extent: number, what: string): number {
  if (index < extent) return index
  throw new ShapeError(`${what}: index ${index} is outside of an axis with ${extent} entries`)
}

export function indexSelect(x: NumberArray, dtype: DType, shape: Shape, ids: Uint32Array): NumberArray {
  const { extent, inner } = around(shape, 0)
  const out = storageArray(dtype, ids.length * inner)
  ids.forEach((id, i) => {
    const from = checked(id, extent, 'indexSelect') * inner
    out.set(x.subarray(from, from + inner) as never, i * inner)
  })
  return out
}

/** Row i of the result, which holds `size` numbers, is the sum of the rows of dy where ids is i. */
export function indexAdd(size: number, rows: number, ids: Uint32Array, dy: Float64Array): Float64Array {
  const out = new Float64Array(size)
  const inner = size / rows
  ids.forEach((id, i) => {
    const to = checked(id, rows, 'indexAdd') * inner
    for (let at = 0; at < inner; at++) out[to + at]! += dy[i * inner + at]!
  })
  return out
}

/** Positions in x of the elements that `index` [.., count, ..] names along `axis`, in row-major order. */
export function positions(
  index: Uint32Array,
  indexShape: Shape,
  shape: Shape,
  axis: number,
  what: string,
): number[] {
  const { extent, inner } = around(shape, axis)
  const count = indexShape[axis]!
  return Array.from(index, (chosen, i) => {
    const outer = Math.floor(i / (count * inner))
    return (outer * extent + checked(chosen, extent, what)) * inner + (i % inner)
  })
}

export function concat(
  parts: readonly NumberArray[],
  dtype: DType,
  shapes: readonly Shape[],
  axis: number,
): NumberArray {
  const out = storageArray(
    dtype,
    parts.reduce((total, part) => total + part.length, 0),
  )
  const { outer } = around(shapes[0]!, axis)
  let at = 0
  for (let o = 0; o < outer; o++) {
    for (const part of parts) {
      const run = part.length / outer
      out.set(part.subarray(o * run, (o + 1) * run) as never, at)
      at += run
    }
  }
  return out
}

/** Indices that sort a row; equal entries keep their order. NaN is last, or (`nanFirst`) first. */
export function order(row: Float64Array, descending: boolean, nanFirst: boolean): number[] {
  const indices = Array.from(row, (_, i) => i)
  return indices.sort((a, b) => {
    const [x, y] = [row[a]!, row[b]!]
    const nans = Number(Number.isNaN(x)) - Number(Number.isNaN(y))
    if (nans !== 0) return nanFirst ? -nans : nans
    const difference = x < y ? -1 : x > y ? 1 : 0
    return (descending ? -difference : difference) || a - b
  })
}
