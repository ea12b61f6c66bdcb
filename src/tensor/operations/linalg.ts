/** Factorisations and solves in f32 and f64, one matrix after another over leading axes. */
import { ShapeError } from '../errors.ts'
import type { Handle, Kernels } from '../kernels.ts'
import { apply, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { elementCount, type Shape, sameShape, showShape } from '../shape.ts'
import { Tensor } from '../tensor.ts'
import { stack } from './gather.ts'
import { matmul } from './matmul.ts'
import { needSame, needType } from './operand.ts'

/** Each matrix of a batch alone; results joined under the leading axes. */
function overBatch<I extends readonly Tensor[], Options>(
  operation: Operation<I, Options, readonly Tensor[]>,
  inputs: I,
  options: Options,
): readonly Tensor[] {
  const leading = inputs[0]!.shape.slice(0, -2)
  for (const input of inputs) {
    needType(operation.name, 'matrices', input, 'f32', 'f64')
    needSame(operation.name, inputs[0]!, input)
    if (input.rank < 2 || !sameShape(input.shape.slice(0, -2), leading)) {
      throw new ShapeError(
        `${operation.name}: needs matrices with equal leading axes, got ${inputs.map((x) => showShape(x.shape)).join(' and ')}`,
      )
    }
  }
  if (leading.length === 0) return apply(operation, inputs, options)
  const count = elementCount(leading)
  if (count === 0) throw new ShapeError(`${operation.name}: ${showShape(inputs[0]!.shape)} holds no matrices`)
  return scope(() => {
    const flat = inputs.map((x) => x.reshape([count, ...x.shape.slice(-2)]))
    const results = Array.from({ length: count }, (_, i) =>
      apply(operation, flat.map((x) => x.select(0, i)) as unknown as I, options),
    )
    return results[0]!.map((first, part) => {
      const joined = stack(results.map((result) => result[part]!))
      return joined.reshape([...leading, ...first.shape])
    })
  })
}

function needSquare(name: string, a: Tensor): void {
  if (a.extent(-1) !== a.extent(-2)) {
    throw new ShapeError(`${name}: needs square matrices, got ${showShape(a.shape)}`)
  }
}

function needRows(name: string, a: Tensor, b: Tensor): void {
  needSquare(name, a)
  if (b.extent(-2) !== a.extent(-1)) {
    throw new ShapeError(
      `${name}: a [n, n] and b [n, columns] must agree, got ${showShape(a.shape)} and ${showShape(b.shape)}`,
    )
  }
}

const wrap = (kernels: Kernels, handle: Handle, like: Tensor, shape: Shape) =>
  new Tensor(kernels, handle, like.dtype, shape)

const choleskyOperation: Operation<[Tensor], object, readonly Tensor[]> = {
  name: 'cholesky',
  forward(kernels, [a]) {
    needSquare('cholesky', a)
    return [wrap(kernels, kernels.cholesky(a.handle), a, a.shape)]
  },
}

/**
 * Lower factor L of a symmetric positive definite a = L L^T; reads the lower triangle.
 *
 * @throws NumericalError with the pivot that is not positive.
 */
export function cholesky(a: Tensor): Tensor {
  return overBatch(choleskyOperation, [a], {})[0]!
}

const choleskyInverseOperation: Operation<[Tensor], object, readonly Tensor[]> = {
  name: 'choleskyInverse',
  forward(kernels, [factor]) {
    needSquare('choleskyInverse', factor)
    return [wrap(kernels, kernels.choleskyInverse(factor.handle), factor, factor.shape)]
  },
}

/** (L L^T)^-1 from the lower factor. */
export function choleskyInverse(factor: Tensor): Tensor {
  return overBatch(choleskyInverseOperation, [factor], {})[0]!
}

export interface TriangularOptions {
  /** Which triangle of a is read. @default true */
  lower?: boolean
  /** Solves with a^T. @default false */
  transpose?: boolean
  /** Takes the diagonal as ones. @default false */
  unit?: boolean
}

const triangularSolveOperation: Operation<
  [Tensor, Tensor],
  Required<TriangularOptions>,
  readonly Tensor[]
> = {
  name: 'triangularSolve',
  forward(kernels, [a, b], options) {
    needRows('triangularSolve', a, b)
    return [wrap(kernels, kernels.triangularSolve(a.handle, b.handle, options), b, b.shape)]
  },
}

/** x with a x = b for a triangular a [.., n, n] and b [.., n, columns]. */
export function triangularSolve(
  a: Tensor,
  b: Tensor,
  { lower = true, transpose = false, unit = false }: TriangularOptions = {},
): Tensor {
  return overBatch(triangularSolveOperation, [a, b], { lower, transpose, unit })[0]!
}

const solveOperation: Operation<[Tensor, Tensor], object, readonly Tensor[]> = {
  name: 'solve',
  forward(kernels, [a, b]) {
    needRows('solve', a, b)
    return [wrap(kernels, kernels.solve(a.handle, b.handle), b, b.shape)]
  },
  saves: () => ({ inputs: [0], outputs: [0] }),
  backward: ({ inputs: [a], output: [x], gradient, needs }) => {
    const toB = solve(a.transpose(), gradient)
    return [needs[0] ? matmul(toB, x!.transpose()).neg() : undefined, toB]
  },
}

/**
 * x with a x = b for a general a [.., n, n] and b [.., n, columns].
 *
 * @throws NumericalError where a is singular.
 */
export function solve(a: Tensor, b: Tensor): Tensor {
  return overBatch(solveOperation, [a, b], {})[0]!
}

const qrOperation: Operation<[Tensor], object, readonly Tensor[]> = {
  name: 'qr',
  forward(kernels, [a]) {
    const [m, n] = a.shape as [number, number]
    const [q, r] = kernels.qr(a.handle)
    const k = Math.min(m, n)
    return [wrap(kernels, q, a, [m, k]), wrap(kernels, r, a, [k, n])]
  },
}

/** Thin a = q r with k = min(m, n): q [.., m, k] has orthonormal columns, r [.., k, n] a diagonal without minus. */
export function qr(a: Tensor): { q: Tensor; r: Tensor } {
  const [q, r] = overBatch(qrOperation, [a], {})
  return { q: q!, r: r! }
}

const svdOperation: Operation<[Tensor], object, readonly Tensor[]> = {
  name: 'svd',
  forward(kernels, [a]) {
    const [m, n] = a.shape as [number, number]
    const [u, s, vt] = kernels.svd(a.handle)
    const k = Math.min(m, n)
    return [wrap(kernels, u, a, [m, k]), wrap(kernels, s, a, [k]), wrap(kernels, vt, a, [k, n])]
  },
}

/**
 * Thin a = u diag(s) vt with k = min(m, n): u [.., m, k], s [.., k] descending, vt [.., k, n]. The entry of largest
 * magnitude of each column of u is positive.
 */
export function svd(a: Tensor): { u: Tensor; s: Tensor; vt: Tensor } {
  const [u, s, vt] = overBatch(svdOperation, [a], {})
  return { u: u!, s: s!, vt: vt! }
}

const eighOperation: Operation<[Tensor], object, readonly Tensor[]> = {
  name: 'eigh',
  forward(kernels, [a]) {
    needSquare('eigh', a)
    const [values, vectors] = kernels.eigh(a.handle)
    return [wrap(kernels, values, a, [a.extent(0)]), wrap(kernels, vectors, a, a.shape)]
  },
}

/**
 * a = vectors diag(values) vectors^T for a symmetric a, of which the lower triangle is read: values [.., n]
 * ascending, vectors in columns [.., n, n], the entry of largest magnitude of each positive.
 */
export function eigh(a: Tensor): { values: Tensor; vectors: Tensor } {
  const [values, vectors] = overBatch(eighOperation, [a], {})
  return { values: values!, vectors: vectors! }
}
