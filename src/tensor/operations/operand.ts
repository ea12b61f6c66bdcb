/** Operands of operations: numbers beside tensors, broadcasting, and the types that are asked for. */
import type { DType } from '../dtype.ts'
import { ShapeError } from '../errors.ts'
import { broadcastShapes, type Shape } from '../shape.ts'
import { Tensor } from '../tensor.ts'

/** A tensor, or a number that takes the number type of the tensor beside it. */
export type Operand = Tensor | number

/** One value as a tensor without axes, in the memory and number type of `like`. */
export function scalar(value: number, like: Tensor, dtype: DType = like.dtype): Tensor {
  return new Tensor(like.kernels, like.kernels.fill(dtype, [], value), dtype, [])
}

/** Both operands under the shape that they broadcast to. */
export function broadcast(name: string, a: Operand, b: Operand): [Tensor, Tensor] {
  const like = a instanceof Tensor ? a : b
  if (!(like instanceof Tensor)) throw new ShapeError(`${name}: needs at least one tensor, got two numbers`)
  const x = a instanceof Tensor ? a : scalar(a, like)
  const y = b instanceof Tensor ? b : scalar(b, like)
  needSame(name, x, y)
  const shape = broadcastShapes(x.shape, y.shape, name)
  return [x.expand(shape), y.expand(shape)]
}

/** Refuses tensors of different number types; nothing is promoted in silence. */
export function needSame(name: string, a: Tensor, b: Tensor): void {
  if (a.dtype !== b.dtype) {
    throw new ShapeError(`${name}: needs one number type, got ${a.dtype} and ${b.dtype}; cast one of them`)
  }
}

export function needType(name: string, what: string, x: Tensor, ...allowed: DType[]): void {
  if (!allowed.includes(x.dtype)) {
    throw new ShapeError(`${name}: ${what} must be ${allowed.join(' or ')}, got ${x.dtype}; cast it first`)
  }
}

export function needRank(name: string, what: string, x: Tensor, rank: number): void {
  if (x.rank !== rank) {
    throw new ShapeError(`${name}: ${what} needs ${rank} dimensions, got ${showOf(x.shape)}`)
  }
}

const showOf = (shape: Shape) => `[${shape.join(', ')}]`
