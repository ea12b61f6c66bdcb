/** Axes as arguments, and axes moved to the end, where kernels work. */
import { OptionError } from '../errors.ts'
import { normalizeAxis } from '../shape.ts'
import type { Tensor } from '../tensor.ts'

/** One axis, several, or (left out) all. Negative axes count from the end. */
export type Axes = number | readonly number[] | undefined

/** The axes in ascending order. */
export function axesOf(axes: Axes, rank: number, what: string): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, axis) => axis)
  const list = typeof axes === 'number' ? [axes] : axes
  const found = list.map((axis) => normalizeAxis(axis, rank, what)).sort((a, b) => a - b)
  if (new Set(found).size === found.length) return found
  throw new OptionError(`${what}: an axis is named twice in [${list.join(', ')}]`)
}

/** A view with these axes last, in order; x itself where they are. */
export function toEnd(x: Tensor, axes: readonly number[]): Tensor {
  const first = x.rank - axes.length
  if (axes.every((axis, i) => axis === first + i)) return x
  const others = x.shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis))
  return x.permute([...others, ...axes])
}

/** Runs `body` on x with `axis` moved to the end, and moves it back in the result. */
export function alongAxis(x: Tensor, axis: number, what: string, body: (x: Tensor) => Tensor): Tensor {
  const at = normalizeAxis(axis, x.rank, what)
  return fromEnd(body(toEnd(x, [at])), at)
}

/** The last axis moved to position `axis`. */
export function fromEnd(x: Tensor, axis: number): Tensor {
  if (axis === x.rank - 1) return x
  const order = x.shape.map((_, i) => i).slice(0, -1)
  return x.permute(order.toSpliced(axis, 0, x.rank - 1))
}
